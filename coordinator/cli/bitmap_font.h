#pragma once

#include <array>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "common/image/image.h"

namespace rsidiff::coordinator {

struct Color {
  uint8_t red = 0;
  uint8_t green = 0;
  uint8_t blue = 0;
};

/// Where and how a line of text is drawn.
struct TextPlace {
  int x = 0;  // left
  int y = 0;  // top
  int scale = 2;
  Color color;
};

/// Pixels from one character to the next and from one line to the next, at scale 1.
inline constexpr int kGlyphAdvance = 4;
inline constexpr int kGlyphLine = 7;

/// Draws text in a built-in 3 x 5 pixel font of capitals, digits and punctuation; small letters are drawn
/// as capitals, everything else as a box. What does not fit the picture is cut off.
void DrawText(absl::string_view text, const TextPlace& place, Image& image);

}  // namespace rsidiff::coordinator
