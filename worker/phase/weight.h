#pragma once

#include "absl/status/statusor.h"
#include "common/artifact/store.h"
#include "rsidiff/v1/run.pb.h"
#include "rsidiff/v1/work.pb.h"
#include "worker/phase/task.h"

namespace rsidiff::worker {

/// WEIGHT: the standardised distance of each row to the reference, by weights.method. INVALID_ARGUMENT names
/// the sample whose row is not there or has another length.
absl::StatusOr<v1::WeightResult> Weigh(const v1::WeightWork& work, const v1::WeightSpec& weights,
                                       ArtifactStore& store, TaskControl& control);

}  // namespace rsidiff::worker
