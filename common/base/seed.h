#pragma once

#include <cstdint>
#include <initializer_list>

#include "absl/strings/string_view.h"

namespace rsidiff {

/// The first 8 bytes, little endian, of SHA-256 over `domain`, a zero byte and each value as 8 bytes
/// little endian. Ours; chosen because every language can repeat it. docs/formats.md, "Seeds".
uint64_t Hash64(absl::string_view domain, std::initializer_list<uint64_t> values);

/// Seed of a sample's start noise, 63 bits. torch's CPU generator uses only the low 32 bits of a seed,
/// so the low halves of one prompt's samples differ by construction:
///   h = Hash64("sample", {run_seed, round, prompt_id});  low = (h + sample_index * 0x9E3779B1) mod 2^32
///   high = Hash64("sample-high", {run_seed, round, prompt_id, sample_index}) >> 33;  seed = high << 32 | low
uint64_t SampleSeed(uint64_t run_seed, uint32_t round, uint32_t prompt_id, uint32_t sample_index);

/// As SampleSeed, for evaluation samples: the same in every round.
uint64_t EvaluationSeed(uint64_t evaluation_seed, uint32_t prompt_id, uint32_t sample_index);

}  // namespace rsidiff
