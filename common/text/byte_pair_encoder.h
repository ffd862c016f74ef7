#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace rsidiff {

/// One rule of merges.txt: the two neighbours that become one token.
struct BpeMerge {
  int32_t left = 0;
  int32_t right = 0;
  int32_t merged = 0;
};

/// Byte-level BPE of one word (Sennrich et al., arXiv 1508.07909, over bytes as GPT-2 has it): starts from a
/// token a byte and applies the earliest rule that fits, leftmost first. Immutable; thread-safe.
class BytePairEncoder {
 public:
  /// The token of each byte inside a word and at a word's end.
  struct ByteTokens {
    int32_t inner[256];
    int32_t last[256];
  };

  /// `merges` in order of preference; of two rules for one pair the later counts.
  BytePairEncoder(const ByteTokens& bytes, const std::vector<BpeMerge>& merges);

  /// Appends the tokens of `word`'s bytes to `ids`. O(n log n) in the length of the word.
  void Append(absl::string_view word, std::vector<int64_t>& ids) const;

 private:
  struct Rule {
    int32_t rank;
    int32_t merged;
  };

  const Rule* Find(int32_t left, int32_t right) const;

  ByteTokens bytes_;
  absl::flat_hash_map<std::pair<int32_t, int32_t>, Rule> rules_;
};

/// The printable character that GPT-2's byte-level vocabulary writes for `byte`, as UTF-8.
std::string ByteSymbol(uint8_t byte);

}  // namespace rsidiff
