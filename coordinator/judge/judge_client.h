#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/judge/judge_answer.h"

namespace rsidiff::coordinator {

struct JudgeOptions {
  std::string endpoint;  // base URL, without "/chat/completions"
  std::string model;
  std::string rubric;
  std::string api_key;  // empty: none is sent. Never printed
  absl::Duration timeout = absl::Seconds(30);
  int retries = 3;
  int parallel = 4;
  /// Most that is waited before the first further try; twice as much before each one after it (Backoff), and
  /// as long as the server asks for in Retry-After, up to a minute.
  absl::Duration first_wait = absl::Milliseconds(500);
};

/// A connection to an OpenAI-compatible endpoint. Not thread-safe: one for each thread.
class JudgeClient {
 public:
  /// INVALID_ARGUMENT: the endpoint is no http or https URL, or its port is none. `options.model` and
  /// `options.rubric` are valid UTF-8.
  static absl::StatusOr<std::unique_ptr<JudgeClient>> Create(const JudgeOptions& options);
  ~JudgeClient();

  /// What the judge thinks, or nothing when the last of the tries ended in an answer that is none, or the
  /// prompt was refused with status 400, 413 or 422 (`why_unusable` then says what was wrong). UNAVAILABLE:
  /// no connection, no answer in time, or status 408, 429 or 5xx, after all tries. FAILED_PRECONDITION: any
  /// other status, with what the server says. Errors name the endpoint.
  absl::StatusOr<std::optional<Judgement>> Ask(const std::string& prompt);
  const std::string& why_unusable() const { return why_unusable_; }

 private:
  class Impl;
  explicit JudgeClient(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
  std::string why_unusable_;
};

}  // namespace rsidiff::coordinator
