#pragma once

#include <cstddef>

#include "absl/strings/string_view.h"

namespace rsidiff::coordinator {

/// What the letters of a word say that no other prompt vouches for.
struct Letters {
  /// How plausible the word is, 0 to 1.
  double plausible = 1;
  /// How many letters say so; 0: the word is not judged.
  size_t judged = 0;
  /// Typed at random: not the name of anything.
  bool noise = false;

  bool strange() const { return judged > 0 && !noise && plausible < 1; }
};

/// Judges `word` (lower case, any bytes). Words of fewer than three letters, other scripts than Latin, and
/// sizes and model numbers (1920x1080, r2d2) are not judged.
Letters JudgeLetters(absl::string_view word);

bool HasDigit(absl::string_view word);

}  // namespace rsidiff::coordinator
