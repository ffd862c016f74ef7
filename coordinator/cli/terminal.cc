#include "coordinator/cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/utf8.h"

namespace rsidiff::coordinator {
namespace {

struct CodeRange {
  uint32_t first;
  uint32_t last;
};

// The large blocks of Unicode's East_Asian_Width W and F, and emoji.
constexpr CodeRange kWide[] = {{0x1100, 0x115F},   {0x2E80, 0x303E},   {0x3041, 0xA4CF},   {0xA960, 0xA97F},
                               {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},
                               {0xFFE0, 0xFFE6},   {0x1F300, 0x1F64F}, {0x1F680, 0x1F6FF}, {0x1F900, 0x1F9FF},
                               {0x1FA70, 0x1FAFF}, {0x20000, 0x3FFFD}};

// Combining marks, joiners, variation selectors and control characters.
constexpr CodeRange kZero[] = {{0x0, 0x1F},      {0x7F, 0x9F},      {0x300, 0x36F},   {0x483, 0x489},
                               {0x591, 0x5BD},   {0x610, 0x61A},    {0x64B, 0x65F},   {0x1AB0, 0x1AFF},
                               {0x1DC0, 0x1DFF}, {0x200B, 0x200F},  {0x20D0, 0x20FF}, {0xFE00, 0xFE0F},
                               {0xFE20, 0xFE2F}, {0xE0100, 0xE01EF}};

template <size_t N>
bool In(const CodeRange (&ranges)[N], uint32_t code_point) {
  return std::any_of(std::begin(ranges), std::end(ranges), [&](const CodeRange& range) {
    return code_point >= range.first && code_point <= range.last;
  });
}

int Width(uint32_t code_point) {
  return In(kZero, code_point) ? 0 : In(kWide, code_point) ? 2 : 1;
}

// Takes an escape sequence (ESC [ ... letter) off the front, if there is one.
bool TakeEscape(absl::string_view& text) {
  if (text.size() < 2 || text[0] != '\x1B' || text[1] != '[') return false;
  size_t end = 2;
  while (end < text.size() && (text[end] < '@' || text[end] > '~')) ++end;
  text.remove_prefix(std::min(end + 1, text.size()));
  return true;
}

}  // namespace

Terminal DetectTerminal(int descriptor) {
  Terminal terminal;
  terminal.interactive = isatty(descriptor) == 1;
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  const bool dumb = term == nullptr || absl::string_view(term) == "dumb";
  if (dumb) terminal.interactive = false;
  terminal.color = terminal.interactive && (no_color == nullptr || *no_color == '\0');
  winsize window{};
  int columns = 0;
  const char* from_environment = std::getenv("COLUMNS");
  if (from_environment != nullptr && absl::SimpleAtoi(from_environment, &columns) && columns > 0) {
    terminal.width = columns;
  } else if (terminal.interactive && ioctl(descriptor, TIOCGWINSZ, &window) == 0 && window.ws_col > 0) {
    terminal.width = window.ws_col;
  } else if (!terminal.interactive) {
    terminal.width = 200;  // a file has no edge, but a line should still be readable
  }
  return terminal;
}

std::string Styled(absl::string_view text, Style style, const Terminal& terminal) {
  if (!terminal.color || style == Style::kPlain) return std::string(text);
  const char* code = "";
  switch (style) {
    case Style::kPlain:
      break;
    case Style::kBold:
      code = "1";
      break;
    case Style::kDim:
      code = "2";
      break;
    case Style::kGreen:
      code = "32";
      break;
    case Style::kYellow:
      code = "33";
      break;
    case Style::kRed:
      code = "31";
      break;
  }
  return absl::StrCat("\x1B[", code, "m", text, "\x1B[0m");
}

int DisplayWidth(absl::string_view text) {
  int width = 0;
  while (!text.empty()) {
    if (!TakeEscape(text)) width += Width(TakeCodePoint(text));
  }
  return width;
}

std::string Truncated(absl::string_view text, int width) {
  if (DisplayWidth(text) <= width) return std::string(text);
  const absl::string_view dots = absl::string_view("...").substr(0, std::max(0, std::min(3, width)));
  std::string kept;
  int used = static_cast<int>(dots.size());
  bool styled = false;
  while (!text.empty()) {
    const absl::string_view before = text;
    if (TakeEscape(text)) {
      styled = true;
      kept.append(before.data(), before.size() - text.size());
      continue;
    }
    used += Width(TakeCodePoint(text));
    if (used > width) break;
    kept.append(before.data(), before.size() - text.size());
  }
  return absl::StrCat(kept, dots, styled ? "\x1B[0m" : "");
}

std::string ProgressBar(double share, int width) {
  const int inner = std::max(1, width - 2);
  const double clamped = std::isnan(share) ? 0 : std::min(1.0, std::max(0.0, share));
  const int full = static_cast<int>(clamped * inner);
  return absl::StrCat("[", std::string(full, '#'), std::string(inner - full, '-'), "]");
}

void LiveRegion::Draw(const std::vector<std::string>& lines) {
  Clear();
  // One column less than the terminal has: a full line would wrap on some.
  for (const std::string& line : lines) out_ << Truncated(line, terminal_.width - 1) << "\n";
  out_.flush();
  drawn_ = lines.size();
}

void LiveRegion::Clear() {
  if (drawn_ > 0) out_ << "\x1B[" << drawn_ << "A\r\x1B[J";
  drawn_ = 0;
}

}  // namespace rsidiff::coordinator
