#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "coordinator/cli/table.h"
#include "coordinator/prompt/filter.h"

namespace rsidiff::coordinator {

/// What the filter made of a pool.
struct FilterOutcome {
  FilterThresholds thresholds;
  std::vector<std::string> prompts;
  std::vector<JudgedPrompt> judged;  // one for each prompt
  size_t exact_duplicates = 0;       // dropped while the files were read
};

/// Every rejected prompt with its scores and the reason, a JSON object a line: docs/formats.md, "Rejected
/// prompts".
std::string RejectedLines(const FilterOutcome& outcome);

/// Kept and rejected prompts by score and kind of reason, each with an example.
Table FilterTable(const FilterOutcome& outcome);

/// A page with that table, the spread of the scores, and some prompts for each kind of reason and next to the
/// thresholds. Self-contained, and of some ten kilobytes however many prompts there are.
std::string FilterReportHtml(const FilterOutcome& outcome);

}  // namespace rsidiff::coordinator
