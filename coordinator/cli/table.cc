#include "coordinator/cli/table.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace rsidiff::coordinator {
namespace {

std::string Padded(const std::string& text, int width, Align align) {
  const std::string pad(std::max(0, width - DisplayWidth(text)), ' ');
  return align == Align::kRight ? pad + text : text + pad;
}

// A cell stays on its line.
std::string OneLine(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r' || c == '\t'; }, ' ');
  return text;
}

}  // namespace

void Table::AddRow(std::vector<std::string> cells, Style style) {
  cells.resize(columns_.size());
  std::transform(cells.begin(), cells.end(), cells.begin(), OneLine);
  rows_.push_back(std::move(cells));
  styles_.push_back(style);
}

std::string Table::Render(const Terminal& terminal) const {
  std::vector<int> widths;
  for (size_t column = 0; column < columns_.size(); ++column) {
    int width = DisplayWidth(columns_[column].title);
    for (const std::vector<std::string>& row : rows_) width = std::max(width, DisplayWidth(row[column]));
    widths.push_back(width);
  }
  const auto render = [&](const auto& cell_of, Style style) {
    std::string line;
    for (size_t column = 0; column < columns_.size(); ++column) {
      absl::StrAppend(&line, column == 0 ? "" : "  ",
                      Padded(cell_of(column), widths[column], columns_[column].align));
    }
    absl::StripTrailingAsciiWhitespace(&line);
    if (terminal.interactive) line = Truncated(line, terminal.width);
    return Styled(line, style, terminal) + "\n";
  };
  std::string text = render([&](size_t column) { return columns_[column].title; }, Style::kBold);
  for (size_t row = 0; row < rows_.size(); ++row) {
    text += render([&](size_t column) { return rows_[row][column]; }, styles_[row]);
  }
  return text;
}

}  // namespace rsidiff::coordinator
