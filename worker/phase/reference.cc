#include "worker/phase/reference.h"

#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "common/base/status_macros.h"
#include "worker/phase/feature_file.h"
#include "worker/phase/gaussian.h"
#include "worker/phase/neighbours.h"

namespace rsidiff::worker {
namespace {

absl::StatusOr<std::string> Store(const NamedTensors& tensors, ArtifactStore& store) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::string bytes, SerializeSafetensors(tensors, {{"format", "pt"}}));
  return store.Put(bytes);
}

absl::StatusOr<v1::FitReferenceResult> FitKnn(const v1::FitReferenceWork& work, uint32_t neighbours,
                                              ArtifactStore& store) {
  RSIDIFF_ASSIGN_OR_RETURN(const at::Tensor features,
                           ReadFeatureFiles(store, {work.features().begin(), work.features().end()}));
  RSIDIFF_ASSIGN_OR_RETURN(const NeighbourReference reference, FitNeighbours(features, neighbours));
  v1::FitReferenceResult result;
  RSIDIFF_ASSIGN_OR_RETURN(*result.mutable_reference(), Store(NeighbourTensors(reference), store));
  result.set_count(static_cast<uint64_t>(features.size(0)));
  return result;
}

}  // namespace

absl::StatusOr<v1::FitReferenceResult> FitReference(const v1::FitReferenceWork& work,
                                                    const v1::WeightSpec& weights, ArtifactStore& store) {
  if (weights.method() == v1::WEIGHT_METHOD_KNN) return FitKnn(work, weights.neighbours(), store);
  FeatureBlocks blocks;
  blocks.blocks = static_cast<size_t>(work.features_size());
  blocks.read = [&work, &store](size_t index) {
    return ReadFeatures(store, work.features(static_cast<int>(index)));
  };
  RSIDIFF_ASSIGN_OR_RETURN(const Gaussian gaussian, FitGaussian(blocks));
  v1::FitReferenceResult result;
  RSIDIFF_ASSIGN_OR_RETURN(*result.mutable_reference(), Store(GaussianTensors(gaussian), store));
  result.set_shrinkage(gaussian.shrinkage);
  result.set_count(gaussian.count);
  return result;
}

}  // namespace rsidiff::worker
