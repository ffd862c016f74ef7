#include "coordinator/prompt/specificity.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace rsidiff::coordinator {

double SpecificityBits(const Pool& pool, size_t prompt) {
  std::vector<uint32_t> informative;
  for (const Token& token : pool.Tokens(prompt)) {
    switch (pool.Entry(token.word).word_class) {
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
            [&](uint32_t a, uint32_t b) { return pool.Text(a) < pool.Text(b); });
  informative.erase(std::unique(informative.begin(), informative.end()), informative.end());
  double bits = 0;
  for (const uint32_t word : informative) {
    bits += std::log2(static_cast<double>(pool.prompts() + 1) / static_cast<double>(pool.PromptsWith(word)));
  }
  return bits;
}

}  // namespace rsidiff::coordinator
