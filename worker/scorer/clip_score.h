#pragma once

#include <memory>

#include "worker/scorer/prompt_encoder.h"
#include "worker/scorer/scorer.h"

namespace rsidiff::worker {

/// CLIPScore, cosine variant: cos(image, text) of a CLIP model, without prefix, clamp or factor. With
/// OpenAI's ViT-L/14 this is what the field reports; times 100, clamped at 0, it is torchmetrics' number, and
/// times 2.5, clamped at 0 and with the prefix "A photo depicts " in the prompt, the original one (Hessel et
/// al. 2021).
class ClipScore : public Scorer {
 public:
  ClipScore(std::shared_ptr<const ImageEncoder> images, std::shared_ptr<PromptEncoder> prompts);

  absl::StatusOr<std::vector<double>> Score(ScoreBatch& batch) override;
  absl::StatusOr<at::Tensor> ImageFeatures(ScoreBatch& batch) override;

 private:
  std::shared_ptr<const ImageEncoder> images_;
  std::shared_ptr<PromptEncoder> prompts_;
};

/// Dot product of each pair of rows of two fp32 CPU tensors [N, D] (or [1, D] for `b`), summed in double: the
/// cosine where the rows are L2-normalised. A row's result does not depend on the others.
std::vector<double> RowDots(const at::Tensor& a, const at::Tensor& b);

}  // namespace rsidiff::worker
