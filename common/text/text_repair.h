#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace rsidiff {

/// What ftfy's fix_text(text, fix_encoding=False) gives, version 6.3, line by line until nothing changes:
/// HTML references with a semicolon are replaced unless a "<" came before, C1 control characters become
/// windows-1252's, Latin ligatures letters, full- and halfwidth forms their usual ones, curly quotes
/// straight, line breaks "\n"; terminal escapes and control characters go; NFC. Text that was decoded with
/// the wrong encoding stays as it is: ftfy's guess at that is a heuristic over tables of its own. Malformed
/// UTF-8 becomes U+FFFD.
std::string RepairText(absl::string_view text);

}  // namespace rsidiff
