#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace rsidiff {

/// Settings of BERT's basic tokenizer, with the defaults of bert-base-uncased.
struct BertTextOptions {
  bool lower_case = true;
  bool strip_accents = true;
  bool split_ideographs = true;  // each CJK ideograph is a word
};

/// BERT's normalisation of UTF-8 text: control characters and U+FFFD (malformed bytes too) go, white space
/// becomes a space, accents are taken off and letters lowered where asked for.
std::string NormalizeBertText(absl::string_view text, const BertTextOptions& options);

/// The words of normalised text, without the space between them; each punctuation character is a word.
std::vector<absl::string_view> SplitBertWords(absl::string_view normalized);

}  // namespace rsidiff
