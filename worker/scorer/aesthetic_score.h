#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "worker/scorer/scorer.h"

namespace rsidiff::worker {

/// LAION's aesthetic predictor v2 (christophschuhmann/improved-aesthetic-predictor): linear layers without
/// activations over the L2-normalised projected image embedding of a CLIP model; the prompt plays no part.
/// Linear layers after one another are one affine map, so that is what is kept.
class AestheticScore final : public Scorer {
 public:
  /// Reads `layers.{0,2,4,6,7}.{weight,bias}` from model.safetensors in `folder`; the weights decide the
  /// sizes, which have to chain from the embedding's to 1. config.json is optional: its sizes have to agree
  /// with the weights, and dropout is accepted because it does nothing at inference. Errors name file and
  /// tensor.
  enum class Shape { kAny, kPinned };  // kPinned: 768 to 1024, 128, 64, 16 and 1, as `aesthetic-v2` has it
  static absl::StatusOr<std::unique_ptr<AestheticScore>> Load(const std::filesystem::path& folder,
                                                              std::shared_ptr<const ImageEncoder> images,
                                                              Shape shape);

  absl::StatusOr<std::vector<double>> Score(ScoreBatch& batch) override;
  absl::StatusOr<at::Tensor> ImageFeatures(ScoreBatch& batch) override;

 private:
  AestheticScore(std::shared_ptr<const ImageEncoder> images, at::Tensor direction, double bias);

  std::shared_ptr<const ImageEncoder> images_;
  at::Tensor direction_;  // fp32 [1, D]
  double bias_;
};

}  // namespace rsidiff::worker
