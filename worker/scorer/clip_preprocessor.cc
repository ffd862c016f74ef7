#include "worker/scorer/clip_preprocessor.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/image/resize.h"

namespace rsidiff::worker {
namespace {

using ResizeRule = ClipPreprocessing::ResizeRule;

constexpr int64_t kMaxResizedBytes = int64_t{1} << 28;

/// The levels as floats, fp32 [1, 3, height, width], times `factor`.
at::Tensor ToFloats(const Image& image, double factor) {
  const at::Tensor levels =
      at::from_blob(const_cast<uint8_t*>(image.rgb.data()), {1, image.height, image.width, 3}, at::kByte)
          .permute({0, 3, 1, 2})
          .to(at::kFloat)
          .contiguous();
  // torchvision divides by 255, which rounds differently from a product with 1/255.
  return factor == 1.0 / 255.0 ? levels.div(255) : levels.mul(factor);
}

at::Tensor PerChannel(const std::array<double, 3>& values) {
  at::Tensor tensor = at::empty({1, 3, 1, 1}, at::kFloat);
  for (int channel = 0; channel < 3; ++channel) {
    tensor.mutable_data_ptr<float>()[channel] = static_cast<float>(values[channel]);
  }
  return tensor;
}

}  // namespace

ClipPreprocessor::ClipPreprocessor(const ClipPreprocessing& settings) : settings_(settings) {
  for (int channel = 0; channel < 3; ++channel) {
    for (int level = 0; level < 256; ++level) {
      // transformers multiplies in double, rounds to float, and normalises in float.
      auto value = static_cast<float>(level * settings.rescale_factor);
      if (settings.mean.has_value() && settings.deviation.has_value()) {
        value = (value - static_cast<float>((*settings.mean)[channel])) /
                static_cast<float>((*settings.deviation)[channel]);
      }
      levels_[channel][level] = value;
    }
  }
}

absl::StatusOr<ClipPreprocessing::Size> ClipPreprocessor::ResizedSize(const Image& image) const {
  if (settings_.resize == ResizeRule::kNone) return Size{image.height, image.width};
  if (settings_.resize == ResizeRule::kExact) return settings_.exact_size;
  const int64_t edge = settings_.shortest_edge;
  const int64_t shorter = std::min(image.height, image.width);
  const int64_t longer = std::max(image.height, image.width);
  const auto scaled = static_cast<int64_t>(static_cast<double>(edge * longer) / static_cast<double>(shorter));
  if (scaled * edge * 3 > kMaxResizedBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("picture too elongated to resize: ", image.width, "x", image.height));
  }
  if (image.width <= image.height) return Size{scaled, edge};
  return Size{edge, scaled};
}

absl::StatusOr<at::Tensor> ClipPreprocessor::Preprocess(const Image& image) const {
  if (image.width < 1 || image.height < 1 || image.rgb.size() != size_t{3} * image.width * image.height) {
    return absl::InvalidArgumentError(absl::StrCat("empty or torn picture: ", image.width, "x", image.height,
                                                   ", ", image.rgb.size(), " bytes"));
  }
  RSIDIFF_ASSIGN_OR_RETURN(const Size size, ResizedSize(image));
  if (settings_.arithmetic != ResizeArithmetic::kPillow) return PreprocessFloats(image, size);
  if (size == Size{image.height, image.width}) return CropAndNormalise(image);
  return CropAndNormalise(ResizeBicubic(image, static_cast<int>(size.width), static_cast<int>(size.height)));
}

at::Tensor ClipPreprocessor::PreprocessFloats(const Image& image, const Size& size) const {
  at::Tensor pixels = ToFloats(image, settings_.rescale_factor);
  if (!(size == Size{image.height, image.width})) {
    const std::array<int64_t, 2> to = {size.height, size.width};
    pixels = settings_.arithmetic == ResizeArithmetic::kFloatAntialias
                 ? at::_upsample_bicubic2d_aa(pixels, to, /*align_corners=*/false)
                 : at::upsample_bicubic2d(pixels, to, /*align_corners=*/false);
  }
  const auto [height, width] = settings_.output_size;
  const int64_t top = CropStart(size.height, height);
  const int64_t left = CropStart(size.width, width);
  // A negative padding cuts.
  pixels = at::constant_pad_nd(pixels, {-left, left + width - size.width, -top, top + height - size.height});
  if (settings_.mean.has_value() && settings_.deviation.has_value()) {
    pixels = pixels.sub(PerChannel(*settings_.mean)).div_(PerChannel(*settings_.deviation));
  }
  return pixels[0];
}

int64_t ClipPreprocessor::CropStart(int64_t from, int64_t to) const {
  const int64_t surplus = from - to;
  // Floor division, also where the picture is the smaller and it is negative.
  if (settings_.crop_rounding == CropRounding::kDown) return surplus >> 1;
  const int64_t half = surplus / 2;
  return surplus > 0 && surplus % 2 != 0 && half % 2 != 0 ? half + 1 : half;
}

at::Tensor ClipPreprocessor::CropAndNormalise(const Image& image) const {
  const auto [height, width] = settings_.output_size;
  const int64_t top = CropStart(image.height, height);
  const int64_t left = CropStart(image.width, width);
  at::Tensor pixels = at::empty({3, height, width}, at::kFloat);
  float* out = pixels.mutable_data_ptr<float>();
  for (int channel = 0; channel < 3; ++channel) {
    const std::array<float, 256>& levels = levels_[channel];
    for (int64_t y = 0; y < height; ++y) {
      const int64_t source_y = y + top;
      const bool row_inside = source_y >= 0 && source_y < image.height;
      for (int64_t x = 0; x < width; ++x) {
        const int64_t source_x = x + left;
        const bool inside = row_inside && source_x >= 0 && source_x < image.width;
        *out++ = levels[inside ? image.row(static_cast<int>(source_y))[3 * source_x + channel] : 0];
      }
    }
  }
  return pixels;
}

}  // namespace rsidiff::worker
