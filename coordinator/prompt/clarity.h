#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "coordinator/prompt/letters.h"
#include "coordinator/prompt/pool.h"

namespace rsidiff::coordinator {

/// How well a prompt can be understood: the least of five parts, each from 0 to 1.
struct Clarity {
  double spelling = 1;
  double order = 1;
  double variety = 1;
  double length = 1;
  double consistency = 1;
  /// Least of the parts.
  double score = 1;
  /// What the least part found, as a sentence fragment; empty where the score is 1.
  std::string reason;
};

/// Judges the prompts of one pool, each against all the others. The formulas are ours (docs/method.md).
class ClarityJudge {
 public:
  /// `pool` outlives the judge.
  explicit ClarityJudge(const Pool& pool);

  Clarity Judge(size_t prompt) const;

 private:
  struct Part {
    double value = 1;
    std::string reason;
  };
  Part Spelling(absl::Span<const Token> tokens) const;
  Part Order(absl::Span<const Token> tokens) const;
  Part Consistency(absl::Span<const Token> tokens) const;
  std::vector<Letters> JudgeWords(absl::Span<const Token> tokens) const;
  bool IsSlipOfUsualWord(const std::string& word) const;

  const Pool& pool_;
  // Usual words, and what is left of them without one letter.
  absl::flat_hash_set<std::string> usual_spellings_;
};

}  // namespace rsidiff::coordinator
