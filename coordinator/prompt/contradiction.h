#pragma once

#include <string>
#include <vector>

#include "coordinator/prompt/words.h"

namespace rsidiff::coordinator {

/// The first thing in a prompt that cannot be drawn because it contradicts itself, as a sentence fragment;
/// empty where there is none. Only plain cases of English, each of which a reader would call a contradiction:
///   two colours, opposite sizes, or two numbers in front of one thing   a red blue circle; one two stars
///   two figures that are one thing                                      a circle square
///   what is stated is denied                                            a red star that is not red; no star
///   but a star a relation to itself, or in a circle                                left of itself; a star
///   above a ring above the star opposite relations of one thing                                     a star
///   above and below a ring
/// Words joined by "and", "or", a hyphen or punctuation are no contradiction, nor are blends (blue green).
std::string FindContradiction(const std::vector<Word>& words);

}  // namespace rsidiff::coordinator
