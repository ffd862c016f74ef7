#include "worker/scorer/clip_logit_score.h"

#include <cmath>
#include <utility>

#include "common/base/status_macros.h"

namespace rsidiff::worker {

ClipLogitScore::ClipLogitScore(std::shared_ptr<const ImageEncoder> images,
                               std::shared_ptr<PromptEncoder> prompts, double logit_scale)
    : cosine_(std::move(images), std::move(prompts)), factor_(std::exp(logit_scale)) {}

absl::StatusOr<std::vector<double>> ClipLogitScore::Score(ScoreBatch& batch) {
  RSIDIFF_ASSIGN_OR_RETURN(std::vector<double> scores, cosine_.Score(batch));
  for (double& score : scores) score *= factor_;
  return scores;
}

absl::StatusOr<at::Tensor> ClipLogitScore::ImageFeatures(ScoreBatch& batch) {
  return cosine_.ImageFeatures(batch);
}

}  // namespace rsidiff::worker
