#include "coordinator/cli/filter_pool.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "coordinator/judge/judge.h"
#include "coordinator/prompt/pool.h"

namespace rsidiff::coordinator {
namespace {

constexpr size_t kShownWarnings = 10;

void Reject(const Judgement& judgement, const v1::PromptJudgeSpec& spec, JudgedPrompt& prompt) {
  if (judgement.clarity < spec.clarity()) {
    prompt.verdict = Verdict::kUnclear;
    prompt.reason = absl::StrFormat("judged unclear: %.2f; %s", judgement.clarity, judgement.reason);
  } else if (judgement.specificity < spec.specificity()) {
    prompt.verdict = Verdict::kVague;
    prompt.reason = absl::StrFormat("judged vague: %.2f; %s", judgement.specificity, judgement.reason);
  }
}

// Asks about the prompts that are kept, and rejects those that the judge gives less than its thresholds.
absl::StatusOr<FilterOutcome> ApplyJudge(const v1::PromptJudgeSpec& spec, const std::filesystem::path& cache,
                                         FilterOutcome outcome, CommandContext& context) {
  RSIDIFF_ASSIGN_OR_RETURN(const JudgeOptions options, MakeJudgeOptions(spec));
  RSIDIFF_ASSIGN_OR_RETURN(const std::unique_ptr<JudgeCache> known,
                           JudgeCache::Open(cache.empty() ? DefaultJudgeCache() : cache));
  std::vector<size_t> places;
  std::vector<std::string> prompts;
  for (size_t i = 0; i < outcome.prompts.size(); ++i) {
    if (outcome.judged[i].verdict != Verdict::kKept) continue;
    places.push_back(i);
    prompts.push_back(outcome.prompts[i]);
  }
  size_t told = 0;  // tenths
  RSIDIFF_ASSIGN_OR_RETURN(
      JudgedPool pool, JudgePool(options, prompts, *known, [&](size_t done, size_t all) {
        if (10 * done / all == told) return;
        told = 10 * done / all;
        context.Note(absl::StrCat("the judge has answered ", done, " of ", all, " questions"));
      }));
  if (pool.unusable > 0) {
    context.Note(absl::StrCat("warning: ", pool.unusable, " of ", pool.asked,
                              " answers of the judge are unusable; "
                              "those prompts stay. One ",
                              pool.first_unusable));
  }
  outcome.judgements.assign(outcome.prompts.size(), std::nullopt);
  for (size_t i = 0; i < places.size(); ++i) {
    std::optional<Judgement>& judgement = pool.judgements[i];
    if (!judgement) continue;
    Reject(*judgement, spec, outcome.judged[places[i]]);
    outcome.judgements[places[i]] = std::move(judgement);
  }
  return outcome;
}

}  // namespace

absl::StatusOr<LoadedPrompts> ReadPool(const std::vector<std::filesystem::path>& files,
                                       CommandContext& context) {
  RSIDIFF_ASSIGN_OR_RETURN(LoadedPrompts list, ReadPromptFiles(files));
  for (size_t i = 0; i < std::min(kShownWarnings, list.warnings.size()); ++i) {
    context.Note(absl::StrCat("warning: ", list.warnings[i]));
  }
  if (list.warnings.size() > kShownWarnings) {
    context.Note(
        absl::StrCat("warning: ", list.warnings.size() - kShownWarnings, " more prompts like these"));
  }
  return list;
}

absl::StatusOr<FilterOutcome> FilterPool(const v1::PromptFilterSpec& spec, LoadedPrompts list,
                                         const std::filesystem::path& judge_cache, CommandContext& context) {
  FilterOutcome outcome;
  outcome.thresholds = ThresholdsOf(spec);
  outcome.exact_duplicates = list.duplicates;
  outcome.prompts = std::move(list.prompts);
  const Pool pool(outcome.prompts);
  const std::vector<Content> contents = ContentsOf(pool);
  outcome.judged = JudgeAlone(pool, contents, outcome.thresholds);
  if (spec.has_judge()) {
    RSIDIFF_ASSIGN_OR_RETURN(outcome, ApplyJudge(spec.judge(), judge_cache, std::move(outcome), context));
  }
  outcome.judged = RejectDuplicates(outcome.prompts, contents, outcome.thresholds, std::move(outcome.judged));
  return outcome;
}

}  // namespace rsidiff::coordinator
