#pragma once

#include "absl/status/statusor.h"
#include "common/artifact/store.h"
#include "rsidiff/v1/run.pb.h"
#include "rsidiff/v1/work.pb.h"
#include "worker/phase/task.h"

namespace rsidiff::worker {

/// MOMENTS: what FIT_REFERENCE needs to know of one block of the base model's samples.
absl::StatusOr<v1::MomentsResult> GatherMoments(const v1::MomentsWork& work, ArtifactStore& store,
                                                TaskControl& control);

/// FIT_REFERENCE: what distances to the base model's samples are measured by, stored as work.proto's
/// FitReferenceResult says. With weights.method knn the samples themselves (neighbours.h), else a Gaussian
/// (gaussian.h).
absl::StatusOr<v1::FitReferenceResult> FitReference(const v1::FitReferenceWork& work,
                                                    const v1::WeightSpec& weights, ArtifactStore& store,
                                                    TaskControl& control);

}  // namespace rsidiff::worker
