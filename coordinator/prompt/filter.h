#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "coordinator/prompt/near_duplicate.h"
#include "coordinator/prompt/pool.h"
#include "rsidiff/v1/run.pb.h"

namespace rsidiff::coordinator {

/// Least scores that a prompt needs to be kept; 0 turns a score off. Defaults: docs/method.md, "Prompts".
struct FilterThresholds {
  double clarity = 0.7;
  double specificity = 1;
  double diversity = 0.1;
};

FilterThresholds ThresholdsOf(const v1::PromptFilterSpec& spec);

/// By which score a prompt was rejected. The scores are looked at in this order.
enum class Verdict : uint8_t { kKept, kUnclear, kVague, kDuplicate };

/// "kept", "clarity", "specificity" or "diversity".
absl::string_view VerdictName(Verdict verdict);

struct JudgedPrompt {
  Verdict verdict = Verdict::kKept;
  double clarity = 1;      // 0 to 1: clarity.h
  double specificity = 0;  // bits: specificity.h
  double diversity = 1;  // 1 - similarity to the nearest kept prompt; 1 for prompts that were rejected before
  std::string reason;    // why it was rejected, KIND: DETAILS; empty for kept ones
};

/// What kind of reason `reason` is: its part before the colon ("says too little").
absl::string_view KindOf(absl::string_view reason);

/// What every prompt of a pool says, in its order.
std::vector<Content> ContentsOf(const Pool& pool);

/// Clarity and specificity of every prompt of `pool`, in its order, and what these two reject. `contents` are
/// the pool's.
std::vector<JudgedPrompt> JudgeAlone(const Pool& pool, const std::vector<Content>& contents,
                                     const FilterThresholds& thresholds);

/// What is left to do: rejects of the prompts that `judged` keeps those that say the same as another that is
/// kept. `contents` are those of `prompts`.
std::vector<JudgedPrompt> RejectDuplicates(const std::vector<std::string>& prompts,
                                           const std::vector<Content>& contents,
                                           const FilterThresholds& thresholds,
                                           std::vector<JudgedPrompt> judged);

/// Both: judges every prompt of a pool, in the order given. Of prompts that are alike the clearest stays,
/// then the shortest, then the first by its bytes. What is said of a prompt depends on the set of the others
/// and not on their order, on no random number and on no thread. Takes about 0.7 KB of memory and 25 us a
/// prompt.
std::vector<JudgedPrompt> FilterPrompts(const std::vector<std::string>& prompts,
                                        const FilterThresholds& thresholds);

/// The kept prompts in the order in which the filter went through them: the clearest first, then the
/// shortest, then by their bytes. A look at text embeddings goes on in that order.
std::vector<uint32_t> KeptInOrder(const std::vector<std::string>& prompts,
                                  const std::vector<JudgedPrompt>& judged);

/// Prompts by verdict.
struct FilterCounts {
  size_t kept = 0;
  size_t unclear = 0;
  size_t vague = 0;
  size_t duplicate = 0;
};
FilterCounts CountVerdicts(const std::vector<JudgedPrompt>& judged);

}  // namespace rsidiff::coordinator
