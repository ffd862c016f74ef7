#pragma once

#include "absl/status/statusor.h"
#include "common/artifact/store.h"
#include "rsidiff/v1/work.pb.h"
#include "worker/phase/task.h"

namespace rsidiff::worker {

/// MEASURE: diversity of an evaluation and its Fréchet distance to round 0's (feature_statistics.h).
absl::StatusOr<v1::MeasureResult> Measure(const v1::MeasureWork& work, ArtifactStore& store,
                                          TaskControl& control);

}  // namespace rsidiff::worker
