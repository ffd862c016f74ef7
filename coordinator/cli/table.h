#pragma once

#include <string>
#include <vector>

#include "coordinator/cli/terminal.h"

namespace rsidiff::coordinator {

enum class Align { kLeft, kRight };

/// A table of text. Column widths follow the contents; two blanks between columns.
class Table {
 public:
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// Missing cells are blank, extra ones are dropped.
  void AddRow(std::vector<std::string> cells, Style style = Style::kPlain);

  /// With a trailing line feed. A line wider than an interactive terminal is cut.
  std::string Render(const Terminal& terminal) const;

  const std::vector<Column>& columns() const { return columns_; }
  const std::vector<std::vector<std::string>>& rows() const { return rows_; }

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
  std::vector<Style> styles_;
};

}  // namespace rsidiff::coordinator
