#pragma once

#include <cstddef>

#include "coordinator/prompt/pool.h"

namespace rsidiff::coordinator {

/// How much a prompt says about its picture, in bits: the sum over its distinct words, those that fit every
/// picture left out (articles, pronouns, "nice", "thing"), of log2((N + 1) / n), where n of the pool's N
/// prompts have the word. A word in a pool of one prompt counts 1 bit. Inverse document frequency (Spärck
/// Jones 1972).
double SpecificityBits(const Pool& pool, size_t prompt);

}  // namespace rsidiff::coordinator
