#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace rsidiff::coordinator {

/// What an output stream can show.
struct Terminal {
  bool interactive = false;  // a screen whose lines can be drawn again
  bool color = false;
  int width = 80;  // columns
};

/// Looks at a file descriptor and the environment: NO_COLOR and TERM=dumb turn colour off, COLUMNS and
/// the window give the width.
Terminal DetectTerminal(int descriptor);

enum class Style { kPlain, kBold, kDim, kGreen, kYellow, kRed };

/// `text` between the escape codes of `style`; `text` itself where there is no colour.
std::string Styled(absl::string_view text, Style style, const Terminal& terminal);

/// Columns that `text` takes: wide East Asian characters and emoji take 2, combining marks and control
/// characters 0. Escape codes count as none.
int DisplayWidth(absl::string_view text);

/// The longest beginning of `text` that fits `width` columns, with "..." where something was cut off.
std::string Truncated(absl::string_view text, int width);

/// `[#####-----]` of `width` columns; `share` is clamped to 0..1.
std::string ProgressBar(double share, int width);

/// Lines that replace one another on an interactive terminal.
class LiveRegion {
 public:
  LiveRegion(std::ostream& out, const Terminal& terminal) : out_(out), terminal_(terminal) {}

  /// Draws `lines` over those of the last call; each is cut to the terminal's width.
  void Draw(const std::vector<std::string>& lines);
  /// Takes the lines off the screen.
  void Clear();

 private:
  std::ostream& out_;
  const Terminal terminal_;
  size_t drawn_ = 0;
};

}  // namespace rsidiff::coordinator
