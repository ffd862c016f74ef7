#pragma once

#include <memory>
#include <vector>

#include "worker/scorer/clip_score.h"

namespace rsidiff::worker {

/// exp(logit_scale) * cos(image, text) of a CLIPModel folder: the logit that CLIP is trained on, and
/// PickScore's formula (worker/scorer/pick_score.h).
class ClipLogitScore final : public Scorer {
 public:
  /// `logit_scale`: the model's, before exp.
  ClipLogitScore(std::shared_ptr<const ImageEncoder> images, std::shared_ptr<PromptEncoder> prompts,
                 double logit_scale);

  absl::StatusOr<std::vector<double>> Score(ScoreBatch& batch) override;
  absl::StatusOr<at::Tensor> ImageFeatures(ScoreBatch& batch) override;

 private:
  ClipScore cosine_;
  double factor_;
};

}  // namespace rsidiff::worker
