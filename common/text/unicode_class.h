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

}  // namespace rsidiff
