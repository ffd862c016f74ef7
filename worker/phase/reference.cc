#include "worker/phase/reference.h"

#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/phase/feature_file.h"
#include "worker/phase/gaussian.h"
#include "worker/phase/moments.h"
#include "worker/phase/neighbours.h"

namespace rsidiff::worker {
namespace {

absl::StatusOr<std::string> Store(const NamedTensors& tensors, ArtifactStore& store) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::string bytes, SerializeSafetensors(tensors, {{"format", "pt"}}));
  return store.Put(bytes);
}

absl::StatusOr<v1::FitReferenceResult> FitKnn(const v1::FitReferenceWork& work, uint32_t neighbours,
                                              ArtifactStore& store, TaskControl& control) {
  TaskParts parts(control, work.features_size() + 1);
  RSIDIFF_ASSIGN_OR_RETURN(const at::Tensor features,
                           ReadFeatureFiles(store, {work.features().begin(), work.features().end()}, parts));
  RSIDIFF_RETURN_IF_ERROR(parts.Begin());
  RSIDIFF_ASSIGN_OR_RETURN(const NeighbourReference reference, FitNeighbours(features, neighbours));
  v1::FitReferenceResult result;
  RSIDIFF_ASSIGN_OR_RETURN(*result.mutable_reference(), Store(NeighbourTensors(reference), store));
  result.set_count(static_cast<uint64_t>(features.size(0)));
  return result;
}

absl::StatusOr<Moments> ReadMoments(ArtifactStore& store, const std::string& digest) {
  RSIDIFF_ASSIGN_OR_RETURN(const NamedTensors tensors, ReadTensors(store, digest));
  return ParseMoments(tensors, absl::StrCat("artifact ", digest));
}

absl::StatusOr<Moments> AllMoments(const v1::FitReferenceWork& work, const at::Tensor& features,
                                   ArtifactStore& store, TaskParts& parts) {
  if (work.moments().empty()) return ComputeMoments(features);
  std::vector<Moments> blocks;
  for (const std::string& digest : work.moments()) {
    RSIDIFF_RETURN_IF_ERROR(parts.Begin());
    RSIDIFF_ASSIGN_OR_RETURN(blocks.emplace_back(), ReadMoments(store, digest));
  }
  return MergeMoments(blocks);
}

}  // namespace

absl::StatusOr<v1::MomentsResult> GatherMoments(const v1::MomentsWork& work, ArtifactStore& store,
                                                TaskControl& control) {
  TaskParts parts(control, work.features_size() + 1);
  RSIDIFF_ASSIGN_OR_RETURN(const at::Tensor features,
                           ReadFeatureFiles(store, {work.features().begin(), work.features().end()}, parts));
  RSIDIFF_RETURN_IF_ERROR(parts.Begin());
  RSIDIFF_ASSIGN_OR_RETURN(const Moments moments, ComputeMoments(features));
  v1::MomentsResult result;
  RSIDIFF_ASSIGN_OR_RETURN(*result.mutable_moments(), Store(MomentsTensors(moments), store));
  return result;
}

absl::StatusOr<v1::FitReferenceResult> FitReference(const v1::FitReferenceWork& work,
                                                    const v1::WeightSpec& weights, ArtifactStore& store,
                                                    TaskControl& control) {
  if (weights.method() == v1::WEIGHT_METHOD_KNN) return FitKnn(work, weights.neighbours(), store, control);
  TaskParts parts(control, work.features_size() + work.moments_size() + 1);
  RSIDIFF_ASSIGN_OR_RETURN(const at::Tensor features,
                           ReadFeatureFiles(store, {work.features().begin(), work.features().end()}, parts));
  RSIDIFF_ASSIGN_OR_RETURN(const Moments moments, AllMoments(work, features, store, parts));
  RSIDIFF_RETURN_IF_ERROR(parts.Begin());
  RSIDIFF_ASSIGN_OR_RETURN(const Gaussian gaussian, FitGaussian(moments, features));
  v1::FitReferenceResult result;
  RSIDIFF_ASSIGN_OR_RETURN(*result.mutable_reference(), Store(GaussianTensors(gaussian), store));
  result.set_shrinkage(gaussian.shrinkage);
  result.set_count(gaussian.count);
  return result;
}

}  // namespace rsidiff::worker
