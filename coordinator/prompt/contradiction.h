#pragma once

#include <string>
#include <vector>

#include "coordinator/prompt/words.h"

namespace rsidiff::coordinator {

/// The first thing in a prompt that cannot be drawn because it contradicts itself, as a sentence fragment;
/// empty where there is none. Only plain cases of English, each of which a reader would call a contradiction:
///   - two colours, sizes or numbers of a figure: a red blue circle; a large small ring; one two stars
///   - two figures that are one thing: a circle square
///   - what is stated is denied: a red star that is not red; no star but a star
///   - a figure on both sides of another: a star above and below a ring
///   - a relation to itself, or in a circle: a star left of itself; a star above a ring above the star
/// A figure is a plane or solid one of the lexicon; other things may have two colours (a pink orange sunset).
/// Words joined by "and", "or", a hyphen or punctuation are no contradiction, nor are blends (blue green), a
/// solid on a figure (a square pyramid) and a ring with an outline (an oval ring).
std::string FindContradiction(const std::vector<Word>& words);

}  // namespace rsidiff::coordinator
