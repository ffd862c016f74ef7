#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "coordinator/prompt/lexicon.h"

namespace rsidiff::coordinator {

/// A word of a prompt as a number of the pool's vocabulary.
struct Token {
  uint32_t word : 30;
  uint32_t after_break : 1;
  uint32_t capital : 1;  // Word::capital
};

/// Word counts over all prompts of a pool: what is usual in it. 1'000'000 prompts of 12 words take about
/// 300 MB. Immutable; counts do not depend on the order of the prompts, word numbers do.
class Pool {
 public:
  /// Numbers of the two marks that every prompt is taken to begin and end with.
  static constexpr uint32_t kBeginning = 0;
  static constexpr uint32_t kEnd = 1;

  explicit Pool(const std::vector<std::string>& prompts);

  size_t prompts() const { return offsets_.size() - 1; }
  absl::Span<const Token> Tokens(size_t prompt) const {
    return absl::MakeConstSpan(tokens_).subspan(offsets_[prompt], offsets_[prompt + 1] - offsets_[prompt]);
  }
  size_t vocabulary() const { return texts_.size(); }
  const std::string& Text(uint32_t word) const { return texts_[word]; }
  const LexiconEntry& Entry(uint32_t word) const { return entries_[word]; }
  /// Occurrences in all prompts, the marks included.
  uint64_t Count(uint32_t word) const { return counts_[word]; }
  uint64_t TotalCount() const { return total_; }
  /// Occurrences of `b` right behind `a`, with no punctuation between.
  uint64_t PairCount(uint32_t a, uint32_t b) const;

 private:
  uint32_t Intern(const std::string& text);

  std::vector<Token> tokens_;
  std::vector<size_t> offsets_ = {0};
  std::vector<std::string> texts_;
  std::vector<LexiconEntry> entries_;
  std::vector<uint64_t> counts_;
  uint64_t total_ = 0;
  absl::flat_hash_map<std::string, uint32_t> numbers_;
  absl::flat_hash_map<uint64_t, uint32_t> pairs_;
};

/// Neighbouring words of a prompt, the marks included; none across punctuation.
std::vector<std::pair<uint32_t, uint32_t>> NeighboursOf(absl::Span<const Token> tokens);

}  // namespace rsidiff::coordinator
