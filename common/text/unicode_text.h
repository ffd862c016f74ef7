#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace rsidiff {

/// kNfc and kNfd are Unicode 9's, as in the `tokenizers` library: characters added later stay as they are.
/// The others are those of the Unicode version that ICU has.
enum class NormalForm { kNfc, kNfd, kNfcCurrent, kNfkcCurrent };

/// `text` in a Unicode normal form; malformed bytes become U+FFFD.
std::string NormalizeUtf8(absl::string_view text, NormalForm form);

/// Lower case, code point by code point (no final sigma). `text` is well-formed.
std::string LowerUtf8(absl::string_view text);

/// Lower case with the sigma that ends a word, and upper case, as Python's str.lower() and str.upper().
std::string LowerUtf8WithFinalSigma(absl::string_view text);
std::string UpperUtf8(absl::string_view text);

/// Appends the lower case of a code point.
void AppendLower(uint32_t code_point, std::string& text);

/// Appends a code point (no surrogate, at most U+10FFFF) to UTF-8 `text`.
void AppendUtf8(uint32_t code_point, std::string& text);

}  // namespace rsidiff
