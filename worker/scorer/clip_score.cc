#include "worker/scorer/clip_score.h"

#include <ATen/core/Tensor.h>

#include <utility>

#include "common/base/status_macros.h"

namespace rsidiff::worker {

std::vector<double> RowDots(const at::Tensor& a, const at::Tensor& b) {
  // A plain loop: the order in which a library's reduction adds may change with the number of rows.
  const at::Tensor left = a.contiguous();
  const at::Tensor right = b.expand_as(left).contiguous();
  const float* x = left.const_data_ptr<float>();
  const float* y = right.const_data_ptr<float>();
  std::vector<double> dots(left.size(0));
  for (double& dot : dots) {
    for (int64_t i = 0; i < left.size(1); ++i) dot += static_cast<double>(*x++) * *y++;
  }
  return dots;
}

ClipScore::ClipScore(std::shared_ptr<const ImageEncoder> images, std::shared_ptr<PromptEncoder> prompts)
    : images_(std::move(images)), prompts_(std::move(prompts)) {}

absl::StatusOr<std::vector<double>> ClipScore::Score(ScoreBatch& batch) {
  RSIDIFF_ASSIGN_OR_RETURN(const at::Tensor image, batch.ImageFeatures(*images_));
  RSIDIFF_ASSIGN_OR_RETURN(const at::Tensor text, batch.PromptFeatures(*prompts_));
  return RowDots(image, text);
}

absl::StatusOr<at::Tensor> ClipScore::ImageFeatures(ScoreBatch& batch) {
  return batch.ImageFeatures(*images_);
}

}  // namespace rsidiff::worker
