#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace rsidiff::coordinator {

/// A word of a prompt, its ASCII letters in lower case. Hyphens and apostrophes inside belong to it.
struct Word {
  std::string text;
  bool after_break = false;  // punctuation stands before it, so it does not follow on the word before
  /// Written as names and abbreviations are (UFO, Wlop): with a capital that is not only that of the prompt's
  /// first word. Never in a prompt without a small letter.
  bool capital = false;
};

/// The most words that a CLIP text encoder reads: 77 tokens, two of them its own, and a word is a token at
/// least.
constexpr size_t kMostWords = 75;

/// Splits a prompt at white space and punctuation. Any bytes are taken.
std::vector<Word> SplitWords(absl::string_view prompt);

}  // namespace rsidiff::coordinator
