#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace rsidiff {

/// A place in a text file; both count from 1, columns in characters as the YAML scanner counts them.
/// Line 0 stands for the file as a whole.
struct Position {
  int line = 0;
  int column = 0;
};

/// Something wrong, or worth a warning, at a place of a file.
struct Diagnostic {
  Position position;
  std::string message;
};

/// `FILE:LINE:COLUMN: message`, one a line in the order of the file; without a trailing line feed.
std::string FormatDiagnostics(absl::string_view file, std::vector<Diagnostic> diagnostics);

}  // namespace rsidiff
