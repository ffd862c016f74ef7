#pragma once

#include <cstddef>

#include "coordinator/prompt/pool.h"

namespace rsidiff::coordinator {

/// How much a prompt says about its picture, in bits: the sum over its distinct words, those that fit every
/// picture left out (articles, pronouns, "nice", "thing"), of log2((N + 1) / (n + 1)), N being the other
/// prompts of the pool and n those of them with the word. Ours; inverse document frequency as Spärck Jones
/// (1972).
double SpecificityBits(const Pool& pool, size_t prompt);

}  // namespace rsidiff::coordinator
