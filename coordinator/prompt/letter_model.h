#pragma once

#include "absl/strings/string_view.h"

namespace rsidiff::coordinator {

/// How unlike an English word the letters of `word` run, in bits a letter: the mean cost of each letter, and
/// of the end, after the two before it. Words and most names lie under 5.5, a keyboard slip lies above 7.
/// `word` holds a to z only and is not empty. Ours; letter_model.py makes the table.
double LetterBits(absl::string_view word);

}  // namespace rsidiff::coordinator
