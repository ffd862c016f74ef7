#include "worker/scorer/pick_score.h"

#include <cmath>
#include <utility>

#include "common/base/status_macros.h"

namespace rsidiff::worker {

PickScore::PickScore(std::shared_ptr<const ImageEncoder> images, std::shared_ptr<PromptEncoder> prompts,
                     double logit_scale)
    : cosine_(std::move(images), std::move(prompts)), factor_(std::exp(logit_scale)) {}

absl::StatusOr<std::vector<double>> PickScore::Score(ScoreBatch& batch) {
  RSIDIFF_ASSIGN_OR_RETURN(std::vector<double> scores, cosine_.Score(batch));
  for (double& score : scores) score *= factor_;
  return scores;
}

absl::StatusOr<at::Tensor> PickScore::ImageFeatures(ScoreBatch& batch) {
  return cosine_.ImageFeatures(batch);
}

const ClipDefinition& PickScoreV1Definition() {
  static const auto* const definition =
      new ClipDefinition{VitH14Config(), ClipPreprocessing(), TextCleaning::kTransformers};
  return *definition;
}

}  // namespace rsidiff::worker
