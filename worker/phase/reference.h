#pragma once

#include "absl/status/statusor.h"
#include "common/artifact/store.h"
#include "rsidiff/v1/work.pb.h"

namespace rsidiff::worker {

/// FIT_REFERENCE: the Gaussian of the base model's samples (gaussian.h), stored as work.proto's
/// FitReferenceResult says.
absl::StatusOr<v1::FitReferenceResult> FitReference(const v1::FitReferenceWork& work, ArtifactStore& store);

}  // namespace rsidiff::worker
