#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "worker/scorer/scorer.h"

namespace rsidiff::worker {

/// Linear layers after one another are one affine map, so that is what is kept of them.
struct AestheticHead {
  at::Tensor direction;  // fp32 [1, D]
  double bias = 0;
};

enum class AestheticShape {
  kAny,
  kPinned
};  // kPinned: 768 to 1024, 128, 64, 16 and 1, as `aesthetic-v2` has it

/// Reads `layers.{0,2,4,6,7}.{weight,bias}` from model.safetensors in `folder`; the weights decide the sizes,
/// which have to chain from `feature_size`, the embedding's, to 1. config.json is optional: its sizes have to
/// agree with the weights, dropout is accepted because it does nothing at inference, and a pinned head may
/// not carry another scorer's name. Errors name file and tensor.
absl::StatusOr<AestheticHead> LoadAestheticHead(const std::filesystem::path& folder, int64_t feature_size,
                                                AestheticShape shape);

/// LAION's aesthetic predictor v2 (christophschuhmann/improved-aesthetic-predictor): linear layers without
/// activations over the L2-normalised projected image embedding of a CLIP model; the prompt plays no part.
class AestheticScore final : public Scorer {
 public:
  AestheticScore(AestheticHead head, std::shared_ptr<const ImageEncoder> images);

  absl::StatusOr<std::vector<double>> Score(ScoreBatch& batch) override;
  absl::StatusOr<at::Tensor> ImageFeatures(ScoreBatch& batch) override;

 private:
  AestheticHead head_;
  std::shared_ptr<const ImageEncoder> images_;
};

}  // namespace rsidiff::worker
