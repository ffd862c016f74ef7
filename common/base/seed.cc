#include "common/base/seed.h"

#include <cstdlib>
#include <string>

#include "absl/strings/escaping.h"
#include "common/base/digest.h"

namespace rsidiff {
namespace {

constexpr uint32_t kGolden = 0x9E3779B1;  // odd, so multiples of it are distinct modulo 2^32

uint64_t JoinHalves(uint64_t base, uint64_t high, uint32_t sample_index) {
  uint32_t low = static_cast<uint32_t>(base) + sample_index * kGolden;
  return (high >> 33 << 32) | low;
}

}  // namespace

uint64_t Hash64(absl::string_view domain, std::initializer_list<uint64_t> values) {
  std::string bytes(domain);
  bytes.push_back('\0');
  for (uint64_t value : values) {
    for (int shift = 0; shift < 64; shift += 8) bytes.push_back(static_cast<char>(value >> shift));
  }
  std::string digest = absl::HexStringToBytes(Sha256Hex(bytes));
  uint64_t hash = 0;
  for (int i = 7; i >= 0; --i) hash = hash << 8 | static_cast<unsigned char>(digest[i]);
  return hash;
}

uint64_t SampleSeed(uint64_t run_seed, uint32_t round, uint32_t prompt_id, uint32_t sample_index) {
  return JoinHalves(Hash64("sample", {run_seed, round, prompt_id}),
                    Hash64("sample-high", {run_seed, round, prompt_id, sample_index}), sample_index);
}

uint64_t EvaluationSeed(uint64_t evaluation_seed, uint32_t prompt_id, uint32_t sample_index) {
  return JoinHalves(Hash64("evaluation", {evaluation_seed, prompt_id}),
                    Hash64("evaluation-high", {evaluation_seed, prompt_id, sample_index}), sample_index);
}

}  // namespace rsidiff
