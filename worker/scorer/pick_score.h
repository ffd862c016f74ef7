#pragma once

#include <memory>
#include <vector>

#include "worker/scorer/clip_definition.h"
#include "worker/scorer/clip_score.h"

namespace rsidiff::worker {

/// PickScore (Kirstain et al. 2023): exp(logit_scale) * cos(image, text) of a CLIPModel folder, as in
/// yuvalkirstain/PickScore's README. The softmax of it over the pictures of a prompt is the probability that
/// a person prefers each.
class PickScore final : public Scorer {
 public:
  /// `logit_scale`: the model's, before exp.
  PickScore(std::shared_ptr<const ImageEncoder> images, std::shared_ptr<PromptEncoder> prompts,
            double logit_scale);

  absl::StatusOr<std::vector<double>> Score(ScoreBatch& batch) override;
  absl::StatusOr<at::Tensor> ImageFeatures(ScoreBatch& batch) override;

 private:
  ClipScore cosine_;
  double factor_;
};

/// What `pickscore-v1` means beside the formula: the shape of yuvalkirstain/PickScore_v1, transformers'
/// preprocessing in Pillow's arithmetic and its tokenizer.
const ClipDefinition& PickScoreV1Definition();

}  // namespace rsidiff::worker
