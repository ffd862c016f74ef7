#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace rsidiff {

/// open_clip's spellings of the begin and end token: words of their own, where a word may begin.
inline constexpr char kOpenClipBegin[] = "<start_of_text>";
inline constexpr char kOpenClipEnd[] = "<end_of_text>";

/// open_clip's cleaning of UTF-8 text (mlfoundations/open_clip, src/open_clip/tokenizer.py, clean="lower"):
/// RepairText in ftfy's place, HTML references replaced twice, white space runs become one space, lower case
/// with final sigma.
std::string NormalizeOpenClipText(absl::string_view text);

/// The words of normalised text: as SplitClipWords, with the two spellings above and "'ſ" as a contraction.
std::vector<absl::string_view> SplitOpenClipWords(absl::string_view normalized);

}  // namespace rsidiff
