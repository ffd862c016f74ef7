#include "tests/unit/judge/stub_judge.h"

#include <httplib.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

namespace rsidiff::coordinator {

std::string Completion(const std::string& content) {
  const nlohmann::json body = {
      {"choices", {{{"index", 0}, {"message", {{"role", "assistant"}, {"content", content}}}}}}};
  return body.dump();
}

class StubJudge::Impl {
 public:
  explicit Impl(std::function<StubAnswer(const StubQuestion&)> answer) : answer_(std::move(answer)) {
    server_.Post("/v1/chat/completions", [this](const httplib::Request& request,
                                                httplib::Response& response) { Serve(request, response); });
    server_.set_tcp_nodelay(true);
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }

  ~Impl() {
    server_.stop();
    thread_.join();
  }

  std::string endpoint() const { return absl::StrCat("http://127.0.0.1:", port_, "/v1"); }

  std::vector<StubQuestion> questions() const {
    absl::MutexLock lock(&mutex_);
    return questions_;
  }

 private:
  void Serve(const httplib::Request& request, httplib::Response& response) {
    const nlohmann::json body = nlohmann::json::parse(request.body);
    StubQuestion question;
    question.model = body["model"];
    question.rubric = body["messages"][0]["content"];
    question.prompt = nlohmann::json::parse(body["messages"][1]["content"].get<std::string>())["prompt"];
    question.authorization = request.get_header_value("Authorization");
    for (const auto& parameter : body.items()) question.parameters.insert(parameter.key());
    {
      absl::MutexLock lock(&mutex_);
      questions_.push_back(question);
    }
    const StubAnswer answer = answer_(question);
    std::this_thread::sleep_for(std::chrono::milliseconds(answer.delay_ms));
    response.status = answer.status;
    if (!answer.retry_after.empty()) response.set_header("Retry-After", answer.retry_after);
    if (answer.breaks_off) {
      return response.set_content_provider(answer.body.size(), "application/json",
                                           [](size_t, size_t, httplib::DataSink&) { return false; });
    }
    if (answer.drip_ms == 0) return response.set_content(answer.body, "application/json");
    response.set_content_provider(answer.body.size(), "application/json",
                                  [answer](size_t offset, size_t, httplib::DataSink& sink) {
                                    std::this_thread::sleep_for(std::chrono::milliseconds(answer.drip_ms));
                                    return sink.write(answer.body.data() + offset, 1);
                                  });
  }

  const std::function<StubAnswer(const StubQuestion&)> answer_;
  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
  mutable absl::Mutex mutex_;
  std::vector<StubQuestion> questions_ ABSL_GUARDED_BY(mutex_);
};

StubJudge::StubJudge(std::function<StubAnswer(const StubQuestion&)> answer)
    : impl_(std::make_unique<Impl>(std::move(answer))) {}

StubJudge::~StubJudge() = default;

std::string StubJudge::endpoint() const {
  return impl_->endpoint();
}

std::vector<StubQuestion> StubJudge::questions() const {
  return impl_->questions();
}

}  // namespace rsidiff::coordinator
