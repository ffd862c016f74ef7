#pragma once

#include "coordinator/state/model.h"
#include "rsidiff/v1/work.pb.h"

namespace rsidiff::coordinator {

/// What a worker needs for `task`, which is one of `run`'s and ready. Derived from the run's records each
/// time: the same records give the same payload.
v1::TaskPayload MakePayload(const Run& run, const TaskId& task);

/// The same without what all tasks of the run have in common: the work alone.
v1::TaskPayload MakeWork(const Run& run, const TaskId& task);

/// What every task's payload of `run` begins with.
v1::TaskPayload RunPayload(const v1::RunRecord& run, const std::string& checkpoint);

/// Batch shape, steps and guidance of the samples drawn for `purpose`; no items.
v1::GenerateWork GenerateSettings(const v1::RunSpec& spec, v1::Purpose purpose);

/// The planned samples of GENERATE or SCORE task `task`.
std::vector<PlannedSample> ChunkSamples(const Run& run, const TaskId& task);

/// Indices of the selected samples that WEIGHT task `task` takes.
std::vector<uint32_t> WeightBlock(const Run& run, const TaskId& task);

}  // namespace rsidiff::coordinator
