#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace rsidiff {

/// A token that is looked for in the text itself, before or after normalisation.
struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool normalized = false;  // looked for in the normalised text
};

/// A piece of text between added tokens, or one of them.
struct TextPiece {
  absl::string_view text;
  const AddedToken* token = nullptr;
};

/// Cuts `text` at the tokens, none of them empty: leftmost first, the longest of those that start at one
/// place. The pieces point into `text` and `tokens`.
std::vector<TextPiece> CutAtTokens(absl::string_view text, const std::vector<AddedToken>& tokens);

}  // namespace rsidiff
