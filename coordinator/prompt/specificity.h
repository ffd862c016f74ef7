#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "coordinator/prompt/near_duplicate.h"
#include "coordinator/prompt/pool.h"

namespace rsidiff::coordinator {

/// How much the prompts of a pool say about their pictures. Inverse document frequency (Spärck Jones 1972).
class SpecificityJudge {
 public:
  /// `contents` are those of the pool's prompts, which outlives the judge.
  SpecificityJudge(const Pool& pool, absl::Span<const Content> contents);

  /// In bits: the sum over the prompt's distinct words, those that fit every picture left out (articles,
  /// pronouns, "nice", "thing"), of log2((N + 1) / n), where n of the pool's N contents have the word.
  /// Prompts that say the same are one content. A word in a pool of one content counts 1 bit.
  double Bits(size_t prompt) const;

 private:
  const Pool& pool_;
  size_t contents_ = 0;
  std::vector<uint32_t> contents_with_;  // by word
};

}  // namespace rsidiff::coordinator
