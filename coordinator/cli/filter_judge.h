#pragma once

#include <filesystem>

#include "absl/status/status.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/filter_report.h"
#include "rsidiff/v1/run.pb.h"

namespace rsidiff::coordinator {

/// Asks the judge about the prompts that the filter kept, and rejects those that it gives less than its
/// thresholds. Prompts without a usable answer stay, and a warning says how many. `cache` is the folder of
/// JudgeCache; empty: its default. JudgePool's errors.
absl::Status ApplyJudge(const v1::PromptJudgeSpec& spec, const std::filesystem::path& cache,
                        FilterOutcome& outcome, CommandContext& context);

}  // namespace rsidiff::coordinator
