#pragma once

#include "coordinator/state/model.h"
#include "rsidiff/v1/work.pb.h"

namespace rsidiff::coordinator {

/// What a worker needs for `task`, which is one of `run`'s and ready. Derived from the run's records each
/// time: the same records give the same payload.
v1::TaskPayload MakePayload(const Run& run, const TaskId& task);

/// The planned samples of GENERATE or SCORE task `task`.
std::vector<PlannedSample> ChunkSamples(const Run& run, const TaskId& task);

/// Indices of the selected samples that WEIGHT task `task` takes.
std::vector<uint32_t> WeightBlock(const Run& run, const TaskId& task);

}  // namespace rsidiff::coordinator
