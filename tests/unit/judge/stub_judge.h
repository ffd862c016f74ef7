#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace rsidiff::coordinator {

/// What the stub is asked and how it answers.
struct StubQuestion {
  std::string prompt;
  std::string model;
  std::string rubric;
  std::string authorization;         // header
  std::set<std::string> parameters;  // keys of the request's body
};
struct StubAnswer {
  int status = 200;
  std::string body;
  std::string retry_after = {};  // header, if not empty
  int delay_ms = 0;              // before the answer
  int drip_ms = 0;               // between its bytes, if not 0
  bool breaks_off = false;       // the connection is closed before the body
};

/// The body of a chat completion whose message is `content`.
std::string Completion(const std::string& content);

/// An OpenAI-compatible server on a free port of the loopback interface.
class StubJudge {
 public:
  /// `answer` is called by several threads.
  explicit StubJudge(std::function<StubAnswer(const StubQuestion&)> answer);
  ~StubJudge();

  std::string endpoint() const;
  /// So far, in the order in which they came.
  std::vector<StubQuestion> questions() const;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace rsidiff::coordinator
