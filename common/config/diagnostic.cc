#include "common/config/diagnostic.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace rsidiff {

std::string FormatDiagnostics(absl::string_view file, std::vector<Diagnostic> diagnostics) {
  std::stable_sort(diagnostics.begin(), diagnostics.end(), [](const Diagnostic& a, const Diagnostic& b) {
    return std::tie(a.position.line, a.position.column) < std::tie(b.position.line, b.position.column);
  });
  return absl::StrJoin(diagnostics, "\n", [&](std::string* out, const Diagnostic& diagnostic) {
    absl::StrAppend(out, file, ":");
    if (diagnostic.position.line > 0) {
      absl::StrAppend(out, diagnostic.position.line, ":", diagnostic.position.column, ":");
    }
    absl::StrAppend(out, " ", diagnostic.message);
  });
}

}  // namespace rsidiff
