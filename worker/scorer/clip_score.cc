#include "worker/scorer/clip_score.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <utility>

#include "common/base/status_macros.h"

namespace rsidiff::worker {

std::vector<double> RowDots(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor dots = (a.to(at::kDouble) * b.to(at::kDouble)).sum(1).contiguous();
  const double* begin = dots.const_data_ptr<double>();
  return std::vector<double>(begin, begin + dots.numel());
}

ClipScore::ClipScore(std::shared_ptr<const ImageEncoder> images, std::shared_ptr<PromptEncoder> prompts)
    : images_(std::move(images)), prompts_(std::move(prompts)) {}

absl::StatusOr<std::vector<double>> ClipScore::Score(ScoreBatch& batch) {
  RSIDIFF_ASSIGN_OR_RETURN(const at::Tensor image, batch.ImageFeatures(*images_));
  return RowDots(image, prompts_->Encode(batch.prompts()));
}

absl::StatusOr<at::Tensor> ClipScore::ImageFeatures(ScoreBatch& batch) {
  return batch.ImageFeatures(*images_);
}

}  // namespace rsidiff::worker
