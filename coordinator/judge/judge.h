#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/judge/judge_cache.h"
#include "coordinator/judge/judge_client.h"
#include "rsidiff/v1/run.pb.h"

namespace rsidiff::coordinator {

/// What the run file asks for: the rubric's file is read, the key taken from its environment variable.
/// INVALID_ARGUMENT: the model's name or the rubric is not valid UTF-8, or the endpoint is no URL. An error
/// of the rubric names its file.
absl::StatusOr<JudgeOptions> MakeJudgeOptions(const v1::PromptJudgeSpec& spec);

struct JudgedPool {
  std::vector<std::optional<Judgement>> judgements;  // one for each prompt; nothing: no usable answer
  size_t asked = 0;                                  // the others were in the cache
  size_t unusable = 0;
  std::string first_unusable;  // what was wrong with one of those answers
};

/// Asks about every prompt (valid UTF-8) that the cache does not know, `options.parallel` at a time, and
/// keeps each answer as it comes; `progress` is called now and then with how many of the questions are
/// answered, from any thread, one call at a time. The first error ends it, and says how many answers are
/// kept; FAILED_PRECONDITION too where the judge has never given a usable answer.
absl::StatusOr<JudgedPool> JudgePool(const JudgeOptions& options, const std::vector<std::string>& prompts,
                                     JudgeCache& cache,
                                     const std::function<void(size_t done, size_t all)>& progress);

}  // namespace rsidiff::coordinator
