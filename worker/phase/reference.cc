#include "worker/phase/reference.h"

#include <string>

#include "common/base/status_macros.h"
#include "worker/phase/feature_file.h"
#include "worker/phase/gaussian.h"

namespace rsidiff::worker {

absl::StatusOr<v1::FitReferenceResult> FitReference(const v1::FitReferenceWork& work, ArtifactStore& store) {
  FeatureBlocks blocks;
  blocks.blocks = static_cast<size_t>(work.features_size());
  blocks.read = [&work, &store](size_t index) {
    return ReadFeatures(store, work.features(static_cast<int>(index)));
  };
  RSIDIFF_ASSIGN_OR_RETURN(Gaussian gaussian, FitGaussian(blocks));
  RSIDIFF_ASSIGN_OR_RETURN(std::string bytes,
                           SerializeSafetensors(GaussianTensors(gaussian), {{"format", "pt"}}));
  v1::FitReferenceResult result;
  RSIDIFF_ASSIGN_OR_RETURN(*result.mutable_reference(), store.Put(bytes));
  result.set_shrinkage(gaussian.shrinkage);
  result.set_count(gaussian.count);
  return result;
}

}  // namespace rsidiff::worker
