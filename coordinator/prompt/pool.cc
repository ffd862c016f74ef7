#include "coordinator/prompt/pool.h"

#include <algorithm>
#include <utility>

#include "coordinator/prompt/words.h"

namespace rsidiff::coordinator {
namespace {

uint64_t PairKey(uint32_t a, uint32_t b) {
  return uint64_t{a} << 32 | b;
}

}  // namespace

std::vector<std::pair<uint32_t, uint32_t>> NeighboursOf(absl::Span<const Token> tokens) {
  std::vector<std::pair<uint32_t, uint32_t>> pairs;
  pairs.reserve(tokens.size() + 1);
  uint32_t before = Pool::kBeginning;
  for (const Token& token : tokens) {
    if (!token.after_break) pairs.emplace_back(before, token.word);
    before = token.word;
  }
  pairs.emplace_back(before, Pool::kEnd);
  return pairs;
}

Pool::Pool(const std::vector<std::string>& prompts) {
  // Begin with names that no word has.
  Intern("<");
  Intern(">");
  offsets_.reserve(prompts.size() + 1);
  for (size_t i = 0; i < prompts.size(); ++i) {
    for (const Word& word : SplitWords(prompts[i])) {
      const uint32_t number = Intern(word.text);
      tokens_.push_back({number, word.after_break ? 1u : 0u, word.capital ? 1u : 0u});
      ++counts_[number];
    }
    offsets_.push_back(tokens_.size());
    for (const auto& [a, b] : NeighboursOf(Tokens(i))) ++pairs_[PairKey(a, b)];
  }
  counts_[kBeginning] = counts_[kEnd] = prompts.size();
  total_ = tokens_.size() + 2 * prompts.size();
}

uint32_t Pool::Intern(const std::string& text) {
  const auto [found, inserted] = numbers_.emplace(text, static_cast<uint32_t>(texts_.size()));
  if (inserted) {
    texts_.push_back(text);
    entries_.push_back(LookUp(text));
    counts_.push_back(0);
  }
  return found->second;
}

uint64_t Pool::PairCount(uint32_t a, uint32_t b) const {
  const auto found = pairs_.find(PairKey(a, b));
  return found == pairs_.end() ? 0 : found->second;
}

}  // namespace rsidiff::coordinator
