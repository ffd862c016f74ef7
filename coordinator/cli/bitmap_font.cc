#include "coordinator/cli/bitmap_font.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "common/base/utf8.h"

namespace rsidiff::coordinator {
namespace {

// Five rows of three pixels, an octal digit a row from the top; the high bit is the left pixel.
constexpr uint16_t kLetters[26] = {025755, 065656, 034443, 065556, 074647, 074644, 034553, 055755, 072227,
                                   011152, 055655, 044447, 057755, 065555, 025552, 065644, 025563, 065655,
                                   034216, 072222, 055557, 055552, 055775, 055255, 055222, 071247};
constexpr uint16_t kDigits[10] = {075557, 026227, 071747, 071717, 055711,
                                  074717, 074757, 071222, 075757, 075717};
constexpr uint16_t kBox = 075557;

uint16_t Glyph(uint32_t code_point) {
  if (code_point >= 0x80) return kBox;
  const char c = absl::ascii_toupper(static_cast<unsigned char>(code_point));
  if (c >= 'A' && c <= 'Z') return kLetters[c - 'A'];
  if (c >= '0' && c <= '9') return kDigits[c - '0'];
  switch (c) {
    case ' ':
      return 0;
    case '.':
      return 000002;
    case ',':
      return 000024;
    case ':':
      return 002020;
    case ';':
      return 002024;
    case '-':
      return 000700;
    case '_':
      return 000007;
    case '+':
      return 002720;
    case '=':
      return 007070;
    case '/':
      return 011244;
    case '(':
      return 012221;
    case ')':
      return 042224;
    case '!':
      return 022202;
    case '?':
      return 071202;
    case '\'':
      return 022000;
    case '"':
      return 055000;
    case '%':
      return 051245;
    case '*':
      return 005250;
    case '#':
      return 057575;
    default:
      return kBox;
  }
}

void Fill(int left, int top, int size, Color color, Image& image) {
  for (int y = std::max(0, top); y < std::min(image.height, top + size); ++y) {
    for (int x = std::max(0, left); x < std::min(image.width, left + size); ++x) {
      uint8_t* pixel = image.row(y) + 3 * x;
      pixel[0] = color.red;
      pixel[1] = color.green;
      pixel[2] = color.blue;
    }
  }
}

}  // namespace

void DrawText(absl::string_view text, const TextPlace& place, Image& image) {
  int x = place.x;
  while (!text.empty() && x < image.width) {
    const uint16_t glyph = Glyph(TakeCodePoint(text));
    for (int row = 0; row < 5; ++row) {
      for (int column = 0; column < 3; ++column) {
        if ((glyph >> (3 * (4 - row) + 2 - column) & 1) == 0) continue;
        Fill(x + column * place.scale, place.y + row * place.scale, place.scale, place.color, image);
      }
    }
    x += kGlyphAdvance * place.scale;
  }
}

}  // namespace rsidiff::coordinator
