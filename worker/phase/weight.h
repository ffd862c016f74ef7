#pragma once

#include "absl/status/statusor.h"
#include "common/artifact/store.h"
#include "rsidiff/v1/work.pb.h"

namespace rsidiff::worker {

/// WEIGHT: the standardised Mahalanobis distance of each row to the reference. INVALID_ARGUMENT names the
/// sample whose row is not there or has another length.
absl::StatusOr<v1::WeightResult> Weigh(const v1::WeightWork& work, ArtifactStore& store);

}  // namespace rsidiff::worker
