#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>

#include "absl/status/statusor.h"

namespace rsidiff::worker {

/// How a picture becomes smaller. Pillow works on bytes and rounds to bytes after each pass. torchvision's
/// tensor resize works on floats without rounding or clamping (bicubic with a = -0.75); with antialias the
/// filter widens when shrinking (a = -0.5), without it the picture is sampled.
enum class ResizeArithmetic { kPillow, kFloatAntialias, kFloat };

/// Where the centre begins when an odd number of pixels has to go: transformers rounds the half down,
/// torchvision to the even number.
enum class CropRounding { kDown, kToEven };

/// How pictures become the pixel tensors of a vision tower.
struct ClipPreprocessing {
  struct Size {
    int64_t height = 0;
    int64_t width = 0;
    bool operator==(const Size& other) const { return height == other.height && width == other.width; }
  };
  enum class ResizeRule { kNone, kShortestEdge, kExact };

  ResizeRule resize = ResizeRule::kShortestEdge;
  int64_t shortest_edge = 224;  // with kShortestEdge
  Size exact_size;              // with kExact
  ResizeArithmetic arithmetic = ResizeArithmetic::kPillow;
  CropRounding crop_rounding = CropRounding::kDown;
  /// Of every picture that comes out; a smaller picture is centred on black.
  Size output_size = {224, 224};
  /// What a level of 0..255 is multiplied by.
  double rescale_factor = 1.0 / 255.0;
  /// Both absent: not normalised.
  std::optional<std::array<double, 3>> mean = {{0.48145466, 0.4578275, 0.40821073}};
  std::optional<std::array<double, 3>> deviation = {{0.26862954, 0.26130258, 0.27577711}};
};

/// Reads preprocessor_config.json of `folder`. Absent keys take the values of `defaults`; a key that would
/// change the pixels and is not supported is refused by name. Beside transformers' keys there are
/// "resize_arithmetic" ("pillow", "float_antialias" or "float") and "crop_rounding" ("down" or "to_even").
absl::StatusOr<ClipPreprocessing> LoadClipPreprocessing(const std::filesystem::path& folder,
                                                        const ClipPreprocessing& defaults = {});

/// OK when the two make the same pixels; else INVALID_ARGUMENT that names each difference by its key.
absl::Status CheckSamePreprocessing(const ClipPreprocessing& found, const ClipPreprocessing& wanted);

}  // namespace rsidiff::worker
