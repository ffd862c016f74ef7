#pragma once

#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rsidiff::coordinator {

/// What a judge thinks of a prompt. Ours: the two of the filter's scores that a language model can tell.
struct Judgement {
  double clarity = 0;      // 0 to 1
  double specificity = 0;  // 0 to 1
  std::string reason;      // the judge's own words, at most 300 bytes of well-formed UTF-8
};

/// The instructions that a run file without a rubric gives.
extern const char kDefaultRubric[];

/// Body of a chat completion request (OpenAI's /v1/chat/completions): the rubric as system message, the
/// prompt as data in a JSON object, temperature 0. `left_out`: parameters that RefusedParameter named.
std::string QuestionBody(const std::string& model, const std::string& rubric, const std::string& prompt,
                         const std::set<std::string>& left_out = {});

/// The parameter ("temperature" or "max_tokens") that an answer of status 400 says the model does not take,
/// as OpenAI's newer ones do; empty: it says something else.
std::string RefusedParameter(absl::string_view body);

/// Reads the body of the answer. INVALID_ARGUMENT says what is wrong with it: no JSON, no message, no object
/// in the message, a score that is missing or outside 0 to 1.
absl::StatusOr<Judgement> ParseAnswerBody(absl::string_view body);

/// The object alone, as ParseAnswerBody finds it in the message: the last one there, since models like to
/// wrap it in words or a code fence, and some think aloud before it.
absl::StatusOr<Judgement> ParseJudgement(absl::string_view message);

/// The inverse of ParseJudgement.
std::string JudgementText(const Judgement& judgement);

}  // namespace rsidiff::coordinator
