#pragma once

#include <optional>

#include <c10/core/ScalarType.h>

#include "absl/status/statusor.h"
#include "rsidiff/v1/run.pb.h"
#include "worker/sampler/scheduler_config.h"
#include "worker/scorer/scorer_set.h"

namespace rsidiff::worker {

// The run file's choices as the engine's types. Defaults have been filled in by whoever took the run in.

c10::ScalarType DtypeOf(v1::Precision precision);

/// None: as the model's scheduler_config.json says.
std::optional<SchedulerType> SchedulerOf(v1::SchedulerType type);

/// UNIMPLEMENTED for a type that this program does not know.
absl::StatusOr<ScorerType> ScorerTypeOf(v1::ScorerType type);

}  // namespace rsidiff::worker
