#pragma once

#include <cstdint>

namespace rsidiff {

/// What CLIP's word pattern asks of a code point.
enum class UnicodeClass { kSpace, kLetter, kNumber, kOther };

/// White_Space, general category L, general category N, or none of them. Up to Unicode 16 whatever ICU is
/// installed, since the peers that trained the models know it.
UnicodeClass ClassOf(uint32_t code_point);

/// The lower-case mapping of one code point, up to Unicode 17, except U+0130, which has two in lower case.
uint32_t SimpleLower(uint32_t code_point);

/// What BERT's tokenizer asks of a code point.
enum class BertClass {
  kControl,      // Cc, Cf and Co but tab, line feed and carriage return; U+FFFD
  kSpace,        // White_Space
  kIdeograph,    // of the blocks that BERT sets spaces around
  kAccent,       // Mn, non-spacing marks
  kPunctuation,  // P, and every other ASCII character that is no letter or digit
  kOther
};

/// By the Unicode 8 tables that the `tokenizers` library has for BERT; characters added later are kOther, or
/// kSpace.
BertClass BertClassOf(uint32_t code_point);

}  // namespace rsidiff
