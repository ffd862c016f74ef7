#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/cli/table.h"
#include "coordinator/judge/judge_answer.h"
#include "coordinator/prompt/filter.h"

namespace rsidiff::coordinator {

/// What the filter made of a pool.
struct FilterOutcome {
  FilterThresholds thresholds;
  std::vector<std::string> prompts;
  std::vector<JudgedPrompt> judged;  // one for each prompt
  // One for each prompt, of those that a judge was asked about; empty without a judge.
  std::vector<std::optional<Judgement>> judgements;
  size_t exact_duplicates = 0;  // dropped while the files were read
};

/// Every prompt with its verdict and scores, a JSON object a line: docs/formats.md, "Filtered prompts".
std::string PromptLines(const FilterOutcome& outcome);
/// Those of the rejected ones.
std::string RejectedLines(const FilterOutcome& outcome);

/// Prompts with one kind of reason.
struct FilterKind {
  size_t count = 0;
  std::vector<size_t> samples;  // the first few, in the order of the pool
};
/// By the score that rejected, then by the reason's kind; kept prompts have none and come first.
using FilterKinds = std::map<std::pair<Verdict, std::string>, FilterKind>;
FilterKinds KindsOf(const FilterOutcome& outcome);

/// Kept and rejected prompts by score and kind of reason, each with an example.
Table FilterTable(const FilterOutcome& outcome, const FilterKinds& kinds);

/// A page with that table, the spread of the scores, and some prompts for each kind of reason and next to the
/// thresholds. Self-contained, and of some ten kilobytes however many prompts there are.
std::string FilterReportHtml(const FilterOutcome& outcome, const FilterKinds& kinds);

}  // namespace rsidiff::coordinator
