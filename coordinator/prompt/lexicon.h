#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace rsidiff::coordinator {

/// What a word is to the filter. A closed list of English words, chosen for prompts; every other word is
/// kOther.
enum class WordClass : uint8_t {
  kOther,
  kArticle,   // a, an, the
  kFunction,  // pronouns, auxiliaries, prepositions without a direction: say nothing about the picture
  kRelation,  // above, under: directions between things
  kGeneric,   // thing, nice, picture: words that fit every picture
  kColour,
  kSize,
  kNumber,
  kShape,  // plane and solid figures
};

struct LexiconEntry {
  WordClass word_class = WordClass::kOther;
  /// Words of one class that mean the same have one name, the first of them; empty for kOther.
  absl::string_view name;
};

/// Looks `word` (lower case) up.
LexiconEntry LookUp(absl::string_view word);

/// True for sizes and ages of which a thing has only one: large and small, old and young. Takes names.
bool AreOpposite(absl::string_view a, absl::string_view b);

/// True for figures with a volume: a pyramid. Takes a name.
bool IsSolid(absl::string_view name);

/// True for two neighbours on the colour wheel, whose names together are a colour: blue green. Takes names.
bool IsBlend(absl::string_view a, absl::string_view b);

}  // namespace rsidiff::coordinator
