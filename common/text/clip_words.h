#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/text/unicode_class.h"

namespace rsidiff {

/// CLIP's normalisation of UTF-8 text: NFC, white space runs become one space, lower case code point by code
/// point (no final sigma). Malformed bytes become U+FFFD. NFC is Unicode 9's, as in the `tokenizers` library:
/// characters added later stay as they are.
std::string NormalizeClipText(absl::string_view text);

/// The words of normalised text, without the space between them: English contractions ('s, 't, 're, 've, 'm,
/// 'll, 'd), letter runs, single digits, runs of anything else.
std::vector<absl::string_view> SplitClipWords(absl::string_view normalized);

/// Bytes of the English contraction that `rest` begins with; 0 for none.
size_t ClipContractionLength(absl::string_view rest);

/// Characters of one class, except that numbers and spaces stand alone.
struct ClipRun {
  size_t end = 0;
  UnicodeClass type = UnicodeClass::kOther;
};
/// The run at byte `begin` of well-formed `text`, which is longer than that.
ClipRun ClipRunAt(absl::string_view text, size_t begin);

}  // namespace rsidiff
