#include "coordinator/prompt/filter.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/utf8.h"
#include "coordinator/prompt/clarity.h"
#include "coordinator/prompt/near_duplicate.h"
#include "coordinator/prompt/specificity.h"

namespace rsidiff::coordinator {
namespace {

constexpr size_t kQuotedBytes = 200;

}  // namespace

std::vector<Content> ContentsOf(const Pool& pool) {
  std::vector<Content> contents;
  contents.reserve(pool.prompts());
  for (size_t i = 0; i < pool.prompts(); ++i) contents.push_back(ContentOf(pool, i));
  return contents;
}

std::vector<JudgedPrompt> JudgeAlone(const Pool& pool, const std::vector<Content>& contents,
                                     const FilterThresholds& thresholds) {
  std::vector<JudgedPrompt> judged(pool.prompts());
  const ClarityJudge clarity_judge(pool);
  const SpecificityJudge specificity_judge(pool, contents);
  for (size_t i = 0; i < judged.size(); ++i) {
    Clarity clarity = clarity_judge.Judge(i);
    judged[i].clarity = clarity.score;
    judged[i].specificity = specificity_judge.Bits(i);
    if (clarity.score < thresholds.clarity) {
      judged[i].verdict = Verdict::kUnclear;
      judged[i].reason = std::move(clarity.reason);
    } else if (judged[i].specificity < thresholds.specificity) {
      judged[i].verdict = Verdict::kVague;
      judged[i].reason = absl::StrFormat("says too little: %.2f bits", judged[i].specificity);
    }
  }
  return judged;
}

std::vector<JudgedPrompt> RejectDuplicates(const std::vector<std::string>& prompts,
                                           const std::vector<Content>& contents,
                                           const FilterThresholds& thresholds,
                                           std::vector<JudgedPrompt> judged) {
  const std::vector<uint32_t> order = KeptInOrder(prompts, judged);
  const std::vector<Nearest> nearest = FindNearDuplicates(contents, order, 1 - thresholds.diversity);
  for (const uint32_t i : order) {
    if (nearest[i].prompt == Nearest::kNone) continue;
    judged[i].diversity = 1 - nearest[i].similarity;
    if (nearest[i].similarity <= 1 - thresholds.diversity) continue;
    judged[i].verdict = Verdict::kDuplicate;
    judged[i].reason =
        absl::StrCat("says the same as another: \"", Excerpt(prompts[nearest[i].prompt], kQuotedBytes), "\"");
  }
  return judged;
}

FilterThresholds ThresholdsOf(const v1::PromptFilterSpec& spec) {
  return {spec.clarity(), spec.specificity(), spec.diversity()};
}

absl::string_view VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kKept:
      return "kept";
    case Verdict::kUnclear:
      return "clarity";
    case Verdict::kVague:
      return "specificity";
    case Verdict::kDuplicate:
      return "diversity";
  }
  return "kept";
}

absl::string_view KindOf(absl::string_view reason) {
  return reason.substr(0, reason.find(':'));
}

std::vector<uint32_t> KeptInOrder(const std::vector<std::string>& prompts,
                                  const std::vector<JudgedPrompt>& judged) {
  std::vector<uint32_t> order;
  for (uint32_t i = 0; i < judged.size(); ++i) {
    if (judged[i].verdict == Verdict::kKept) order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    if (judged[a].clarity != judged[b].clarity) return judged[a].clarity > judged[b].clarity;
    if (prompts[a].size() != prompts[b].size()) return prompts[a].size() < prompts[b].size();
    if (prompts[a] != prompts[b]) return prompts[a] < prompts[b];
    return a < b;
  });
  return order;
}

std::vector<JudgedPrompt> FilterPrompts(const std::vector<std::string>& prompts,
                                        const FilterThresholds& thresholds) {
  const Pool pool(prompts);
  const std::vector<Content> contents = ContentsOf(pool);
  return RejectDuplicates(prompts, contents, thresholds, JudgeAlone(pool, contents, thresholds));
}

FilterCounts CountVerdicts(const std::vector<JudgedPrompt>& judged) {
  FilterCounts counts;
  for (const JudgedPrompt& prompt : judged) {
    switch (prompt.verdict) {
      case Verdict::kKept:
        ++counts.kept;
        break;
      case Verdict::kUnclear:
        ++counts.unclear;
        break;
      case Verdict::kVague:
        ++counts.vague;
        break;
      case Verdict::kDuplicate:
        ++counts.duplicate;
        break;
    }
  }
  return counts;
}

}  // namespace rsidiff::coordinator
