#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <filesystem>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/image/image.h"

namespace rsidiff::worker {

/// Turns pictures into the pixel tensors of a CLIP vision tower, as preprocessor_config.json says: resize the
/// shortest edge (bicubic), cut out the centre, rescale, normalise.
///
/// Equals transformers' Pillow image processor (CLIPImageProcessorPil, formerly CLIPImageProcessor) bit for
/// bit: the resize works on 8-bit pixels in Pillow's fixed point, and a picture smaller than the crop is
/// centred on black. transformers' torchvision processor resizes floats and so differs by up to a few levels
/// a pixel; a configuration that names it is read as the Pillow one. Thread-safe once made.
class ClipPreprocessor {
 public:
  /// Reads preprocessor_config.json of `folder`. Absent keys take CLIP's defaults; a key that would change
  /// the pixels and is not supported is refused by name.
  static absl::StatusOr<ClipPreprocessor> Load(const std::filesystem::path& folder);

  /// fp32 [3, height, width] on the CPU. INVALID_ARGUMENT for an empty picture, or one so elongated that
  /// resizing its shortest edge would make more than 2^28 bytes.
  absl::StatusOr<at::Tensor> Preprocess(const Image& image) const;

  struct Size {
    int64_t height = 0;
    int64_t width = 0;
  };
  /// Size of every picture that comes out.
  Size output_size() const { return output_size_; }

 private:
  enum class ResizeRule { kNone, kShortestEdge, kExact };

  ClipPreprocessor() = default;
  absl::StatusOr<Size> ResizedSize(const Image& image) const;
  at::Tensor CropAndNormalise(const Image& image) const;

  ResizeRule resize_ = ResizeRule::kNone;
  int64_t shortest_edge_ = 0;
  Size exact_size_;
  Size output_size_;
  // What a pixel's level becomes, for each channel: rescaling and normalising have 256 possible inputs.
  std::array<std::array<float, 256>, 3> levels_;
};

}  // namespace rsidiff::worker
