#include "worker/phase/measure.h"

#include <string>
#include <vector>

#include "common/base/status_macros.h"
#include "worker/phase/feature_file.h"
#include "worker/phase/feature_statistics.h"

namespace rsidiff::worker {

absl::StatusOr<v1::MeasureResult> Measure(const v1::MeasureWork& work, ArtifactStore& store,
                                          TaskControl& control) {
  const std::vector<std::string> own(work.features().begin(), work.features().end());
  const std::vector<std::string> base(work.reference_features().begin(), work.reference_features().end());
  const bool compared = own != base;
  TaskParts parts(control, static_cast<int64_t>(own.size() + (compared ? base.size() : 0)) + 1);
  RSIDIFF_ASSIGN_OR_RETURN(at::Tensor features, ReadFeatureFiles(store, own, parts));
  v1::MeasureResult result;
  result.set_diversity(MeanPairwiseCosineDistance(features));
  if (!compared) return result;  // round 0 itself: exactly 0
  RSIDIFF_ASSIGN_OR_RETURN(at::Tensor reference, ReadFeatureFiles(store, base, parts));
  RSIDIFF_RETURN_IF_ERROR(parts.Begin());
  RSIDIFF_ASSIGN_OR_RETURN(double frechet, FrechetDistance(features, reference));
  result.set_frechet(frechet);
  return result;
}

}  // namespace rsidiff::worker
