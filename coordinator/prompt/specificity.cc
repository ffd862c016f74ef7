#include "coordinator/prompt/specificity.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace rsidiff::coordinator {

SpecificityJudge::SpecificityJudge(const Pool& pool, absl::Span<const Content> contents)
    : pool_(pool), contents_with_(pool.vocabulary(), 0) {
  std::vector<std::pair<uint64_t, size_t>> prompts;  // by content
  prompts.reserve(contents.size());
  for (size_t i = 0; i < contents.size(); ++i) prompts.emplace_back(KeyOf(contents[i]), i);
  std::sort(prompts.begin(), prompts.end());
  std::vector<size_t> counted_for(pool.vocabulary(), 0);
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (i == 0 || prompts[i].first != prompts[i - 1].first) ++contents_;
    for (const Token& token : pool.Tokens(prompts[i].second)) {
      if (std::exchange(counted_for[token.word], contents_) != contents_) ++contents_with_[token.word];
    }
  }
}

double SpecificityJudge::Bits(size_t prompt) const {
  std::vector<uint32_t> informative;
  for (const Token& token : pool_.Tokens(prompt)) {
    switch (pool_.Entry(token.word).word_class) {
      case WordClass::kArticle:
      case WordClass::kFunction:
      case WordClass::kGeneric:
        break;
      default:
        informative.push_back(token.word);
    }
  }
  // Summed in the order of the texts: word numbers, and so the last bit of a sum, depend on the pool's order.
  std::sort(informative.begin(), informative.end(),
            [&](uint32_t a, uint32_t b) { return pool_.Text(a) < pool_.Text(b); });
  informative.erase(std::unique(informative.begin(), informative.end()), informative.end());
  double bits = 0;
  for (const uint32_t word : informative) {
    bits += std::log2(static_cast<double>(contents_ + 1) / static_cast<double>(contents_with_[word]));
  }
  return bits;
}

}  // namespace rsidiff::coordinator
