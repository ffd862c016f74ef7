#pragma once

#include <filesystem>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/filter_report.h"
#include "coordinator/prompt/source.h"
#include "rsidiff/v1/run.pb.h"

namespace rsidiff::coordinator {

/// ReadPromptFiles, with the first of its warnings on stderr.
absl::StatusOr<LoadedPrompts> ReadPool(const std::vector<std::filesystem::path>& files,
                                       CommandContext& context);

/// Judges a pool as `spec` says, whose defaults are filled in: by clarity and specificity, then by its judge,
/// and what is left by diversity, so that no prompt goes for one that the judge rejects. Prompts without a
/// usable answer are left to the rules, and a warning says how many. `judge_cache` is the folder of
/// JudgeCache; empty: its default. MakeJudgeOptions' and JudgePool's errors.
absl::StatusOr<FilterOutcome> FilterPool(const v1::PromptFilterSpec& spec, LoadedPrompts list,
                                         const std::filesystem::path& judge_cache, CommandContext& context);

}  // namespace rsidiff::coordinator
