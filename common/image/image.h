#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rsidiff {

/// An 8-bit RGB picture, rows from the top, three bytes a pixel, no padding between rows.
struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;  // 3 * width * height

  const uint8_t* row(int y) const { return rgb.data() + size_t{3} * width * y; }
  uint8_t* row(int y) { return rgb.data() + size_t{3} * width * y; }
};

/// A black picture.
inline Image MakeImage(int width, int height) {
  return Image{width, height, std::vector<uint8_t>(size_t{3} * width * height)};
}

}  // namespace rsidiff
