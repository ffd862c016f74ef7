#include "worker/train/training_set_builder.h"

#include <algorithm>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

namespace rsidiff::worker {
namespace {

// Room for `count` tensors like `first`, a tensor [1, ...], below each other.
at::Tensor RoomFor(int64_t count, const at::Tensor& first, at::ScalarType dtype) {
  std::vector<int64_t> shape = first.sizes().vec();
  shape[0] = count;
  return at::empty(shape, dtype);
}

at::Tensor EncodeCaptions(StableDiffusionPipeline& pipeline, const std::vector<std::string>& captions) {
  at::Tensor contexts;
  for (size_t i = 0; i < captions.size(); ++i) {
    const at::Tensor context = pipeline.EncodePrompts(absl::MakeConstSpan(&captions[i], 1));
    if (i == 0) contexts = RoomFor(static_cast<int64_t>(captions.size()), context, context.scalar_type());
    contexts.narrow(0, static_cast<int64_t>(i), 1).copy_(context);
  }
  return contexts;
}

}  // namespace

absl::StatusOr<at::Tensor> EncodePicture(AutoencoderKL& vae, const Image& image) {
  const int64_t multiple = vae.config().downscale_factor();
  if (image.width % multiple != 0 || image.height % multiple != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("sides are not multiples of ", multiple, ": ", image.width, " x ", image.height));
  }
  c10::NoGradGuard no_grad;
  at::Tensor pixels = at::empty({1, image.height, image.width, 3}, at::kByte);
  std::copy(image.rgb.begin(), image.rgb.end(), pixels.data_ptr<uint8_t>());
  pixels = pixels.permute({0, 3, 1, 2}).to(at::kFloat).div(127.5).sub(1.0);
  return vae.Scale(vae.Encode(pixels).mean).to(at::kFloat).cpu();
}

absl::StatusOr<at::Tensor> LatentRow(const at::Tensor& latents, int64_t row) {
  if (latents.dim() != 4) {
    return absl::InvalidArgumentError(
        absl::StrCat("latents have ", latents.dim(), " dimensions, not 4, so there is no row ", row));
  }
  if (row < 0 || row >= latents.size(0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("latents of ", latents.size(0), " samples have no row ", row));
  }
  return latents.narrow(0, row, 1);
}

absl::Status TrainingSetBuilder::Add(const SampleNote& note, const at::Tensor& latents) {
  if (set_.names.empty()) set_.latents = RoomFor(samples_, latents, at::kFloat);
  if (latents.sizes().slice(1) != set_.latents.sizes().slice(1)) {
    return absl::InvalidArgumentError(
        absl::StrCat(note.name, ": its latents differ in shape from the first sample's"));
  }
  set_.latents.narrow(0, static_cast<int64_t>(set_.names.size()), 1).copy_(latents);
  const auto [caption, fresh] = rows_.emplace(note.prompt, static_cast<int64_t>(captions_.size()));
  if (fresh) captions_.push_back(note.prompt);
  set_.context_of.push_back(caption->second);
  set_.weights.push_back(static_cast<float>(note.weight));
  set_.replay.push_back(note.replay);
  set_.names.push_back(note.name);
  return absl::OkStatus();
}

TrainingSet TrainingSetBuilder::Finish(StableDiffusionPipeline& pipeline) {
  c10::NoGradGuard no_grad;
  set_.contexts = EncodeCaptions(pipeline, captions_);
  return std::exchange(set_, TrainingSet());
}

}  // namespace rsidiff::worker
