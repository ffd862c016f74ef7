#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

#include "absl/status/statusor.h"
#include "common/image/image.h"
#include "worker/scorer/clip_preprocessing.h"

namespace rsidiff::worker {

/// Turns pictures into the pixel tensors of a vision tower: resizes (bicubic), cuts out the centre, rescales,
/// normalises.
///
/// With Pillow's arithmetic it equals transformers' Pillow image processor (CLIPImageProcessorPil, formerly
/// CLIPImageProcessor) bit for bit: the resize works on 8-bit pixels in Pillow's fixed point. With float
/// arithmetic it equals torchvision's ToTensor, Resize, CenterCrop, Normalize: torch's own kernels on floats.
/// Thread-safe once made.
class ClipPreprocessor {
 public:
  explicit ClipPreprocessor(const ClipPreprocessing& settings);

  /// fp32 [3, height, width] on the CPU. INVALID_ARGUMENT for an empty picture, or one so elongated that
  /// resizing its shortest edge would make more than 2^28 bytes.
  absl::StatusOr<at::Tensor> Preprocess(const Image& image) const;

  /// Size of every picture that comes out.
  ClipPreprocessing::Size output_size() const { return settings_.output_size; }

 private:
  using Size = ClipPreprocessing::Size;

  absl::StatusOr<Size> ResizedSize(const Image& image) const;
  at::Tensor PreprocessFloats(const Image& image, const Size& size) const;
  // Where the crop begins along a side; negative where the picture is the smaller.
  int64_t CropStart(int64_t from, int64_t to) const;
  at::Tensor CropAndNormalise(const Image& image) const;

  ClipPreprocessing settings_;
  // What a pixel's level becomes, for each channel: rescaling and normalising have 256 possible inputs.
  std::array<std::array<float, 256>, 3> levels_;
};

}  // namespace rsidiff::worker
