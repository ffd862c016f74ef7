#include "worker/scorer/image_encoder.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/scorer/unit_rows.h"

namespace rsidiff::worker {

ImageEncoder::ImageEncoder(std::shared_ptr<const ClipModel> model, ClipPreprocessor preprocessor,
                           int64_t batch_size)
    : model_(std::move(model)), preprocessor_(std::move(preprocessor)), batch_size_(batch_size) {}

absl::StatusOr<std::unique_ptr<ImageEncoder>> ImageEncoder::Create(std::shared_ptr<const ClipModel> model,
                                                                   ClipPreprocessor preprocessor,
                                                                   int64_t batch_size) {
  const int64_t wanted = model->config().vision.image_size;
  const ClipPreprocessing::Size made = preprocessor.output_size();
  if (made.height != wanted || made.width != wanted) {
    return absl::FailedPreconditionError(absl::StrCat(
        "preprocessor_config.json makes pictures of another size than image_size in config.json: ",
        made.height, "x", made.width, ", not ", wanted, "x", wanted));
  }
  if (batch_size < 1) return absl::InvalidArgumentError(absl::StrCat("batch size below 1: ", batch_size));
  return std::unique_ptr<ImageEncoder>(
      new ImageEncoder(std::move(model), std::move(preprocessor), batch_size));
}

absl::StatusOr<at::Tensor> ImageEncoder::Encode(absl::Span<const Image> images) const {
  c10::InferenceMode inference;
  const ClipVisionConfig& vision = model_->config().vision;
  const int64_t count = images.size();
  at::Tensor features = at::empty({count, feature_size()}, at::kFloat);
  at::Tensor pixels = at::zeros({batch_size_, 3, vision.image_size, vision.image_size}, at::kFloat);
  for (int64_t begin = 0; begin < count; begin += batch_size_) {
    const int64_t rows = std::min(batch_size_, count - begin);
    if (rows < batch_size_) pixels.zero_();
    for (int64_t row = 0; row < rows; ++row) {
      absl::StatusOr<at::Tensor> picture = preprocessor_.Preprocess(images[begin + row]);
      if (!picture.ok()) return Annotate(picture.status(), absl::StrCat("picture ", begin + row));
      pixels[row].copy_(*picture);
    }
    // Before the padding goes, so that this sees the same shape every time too.
    const at::Tensor unit = UnitRows(model_->ImageFeatures(pixels).to(at::kCPU, at::kFloat));
    features.narrow(0, begin, rows).copy_(unit.narrow(0, 0, rows));
  }
  return features;
}

}  // namespace rsidiff::worker
