#include "coordinator/judge/judge_client.h"

#include <httplib.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/backoff.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"

namespace rsidiff::coordinator {
namespace {

constexpr size_t kMaxAnswerBytes = 1 << 20;
constexpr size_t kQuotedBytes = 200;
constexpr absl::Duration kLongestWait = absl::Minutes(1);

struct Endpoint {
  std::string server;  // scheme, host and port
  std::string path;    // of the chat completions
};

// HOST, HOST:PORT or [ADDRESS]:PORT.
bool IsHostAndPort(absl::string_view text) {
  const size_t host_end = absl::StartsWith(text, "[") ? text.find(']') : 0;
  if (host_end == absl::string_view::npos) return false;
  const size_t colon = text.find(':', host_end);
  if (colon == absl::string_view::npos) return !text.empty();
  int port = 0;
  return colon > 0 && absl::SimpleAtoi(text.substr(colon + 1), &port) && port >= 1 && port <= 65'535;
}

absl::StatusOr<Endpoint> ParseEndpoint(const std::string& url) {
  const size_t host = url.find("://") + 3;
  const bool known = absl::StartsWith(url, "http://") || absl::StartsWith(url, "https://");
  const size_t slash = known ? url.find('/', host) : std::string::npos;
  if (!known || !IsHostAndPort(absl::string_view(url).substr(host, slash - host))) {
    return absl::InvalidArgumentError(
        absl::StrCat("a judge's endpoint is http://HOST[:PORT]/PATH or https://..., with a port from 1 to "
                     "65535, not \"",
                     url, "\""));
  }
  std::string base = slash == std::string::npos ? "" : url.substr(slash);
  while (!base.empty() && base.back() == '/') base.pop_back();
  return Endpoint{url.substr(0, slash), absl::StrCat(base, "/chat/completions")};
}

bool IsTransient(int status) {
  return status == 408 || status == 429 || status >= 500;
}

// What servers say of one question, too long for the model or against their content filter, and not of all.
bool IsRefusal(int status) {
  return status == 400 || status == 413 || status == 422;
}

// What the server asks for, 0 where it asks for nothing or for a date.
absl::Duration RetryAfter(const httplib::Response& response) {
  int64_t seconds = 0;
  if (!absl::SimpleAtoi(response.get_header_value("Retry-After"), &seconds)) return absl::ZeroDuration();
  return absl::Seconds(std::max<int64_t>(seconds, 0));
}

}  // namespace

class JudgeClient::Impl {
 public:
  Impl(JudgeOptions options, const Endpoint& endpoint)
      : options_(std::move(options)), path_(endpoint.path), client_(endpoint.server) {
    const absl::Duration timeout = options_.timeout;
    const auto seconds = static_cast<time_t>(absl::ToInt64Seconds(timeout));
    const auto micros = static_cast<time_t>(
        absl::ToInt64Microseconds(timeout - absl::Seconds(static_cast<int64_t>(seconds))));
    client_.set_connection_timeout(seconds, micros);
    client_.set_read_timeout(seconds, micros);
    client_.set_write_timeout(seconds, micros);
    client_.set_keep_alive(true);
    client_.set_tcp_nodelay(true);
    if (!options_.api_key.empty()) client_.set_bearer_token_auth(options_.api_key.c_str());
  }

  // One try. INVALID_ARGUMENT: an answer that is none. `wait` is how long the server wants the next try to
  // wait; nothing: another one would end like this.
  struct Try {
    absl::StatusOr<Judgement> judgement;
    std::optional<absl::Duration> wait = absl::ZeroDuration();
  };
  Try AskOnce(const std::string& prompt) {
    std::string body;
    httplib::Response response;
    httplib::Error error = httplib::Error::Success;
    httplib::Request request;
    request.method = "POST";
    request.path = path_;
    request.headers.emplace("Content-Type", "application/json");
    request.headers.emplace("Accept", "application/json");
    request.body = QuestionBody(options_.model, options_.rubric, prompt, left_out_);
    const absl::Time begun = absl::Now();
    const absl::Time deadline = begun + options_.timeout;
    // The time-out of the socket is for each piece; a server that drips is ended by the deadline.
    request.content_receiver = [&body, deadline](const char* data, size_t size, uint64_t, uint64_t) {
      body.append(data, size);
      return body.size() <= kMaxAnswerBytes && absl::Now() < deadline;
    };
    const bool sent = client_.send(request, response, error);
    if (body.size() > kMaxAnswerBytes) {
      return {absl::InvalidArgumentError(absl::StrCat("is longer than ", kMaxAnswerBytes, " bytes"))};
    }
    if (!sent) return {absl::UnavailableError(WhyUnanswered(error, absl::Now() - begun))};
    if (response.status == 400 && LeaveOut(RefusedParameter(body))) return AskOnce(prompt);
    return Read(response, body);
  }

  absl::Status Annotated(const absl::Status& status) const {
    return absl::Status(status.code(), absl::StrCat("judge ", options_.model, " at ", options_.endpoint, ": ",
                                                    status.message()));
  }

  const JudgeOptions& options() const { return options_; }

 private:
  static Try Read(const httplib::Response& response, const std::string& body) {
    if (response.status == 200) return {ParseAnswerBody(body)};
    const std::string message = absl::StrCat("status ", response.status, ": ",
                                             Excerpt(absl::StripAsciiWhitespace(body), kQuotedBytes));
    if (IsTransient(response.status)) return {absl::UnavailableError(message), RetryAfter(response)};
    if (IsRefusal(response.status)) {
      return {absl::InvalidArgumentError(absl::StrCat("was refused with ", message)), std::nullopt};
    }
    return {absl::FailedPreconditionError(message), std::nullopt};
  }

  // httplib calls a time-out of reading and a connection that breaks off the same.
  std::string WhyUnanswered(httplib::Error error, absl::Duration waited) const {
    // Sockets count whole milliseconds.
    const bool late =
        error == httplib::Error::ConnectionTimeout || waited >= options_.timeout - absl::Milliseconds(1);
    if (late) return absl::StrCat("no answer within ", absl::FormatDuration(options_.timeout));
    if (error == httplib::Error::Read) return "the connection broke off before the answer's end";
    return absl::StrCat("no connection: ", httplib::to_string(error));
  }

  // False where the parameter is left out already or is none.
  bool LeaveOut(const std::string& parameter) {
    return !parameter.empty() && left_out_.insert(parameter).second;
  }

  const JudgeOptions options_;
  const std::string path_;
  std::set<std::string> left_out_;  // parameters that the model does not take
  httplib::Client client_;
};

absl::StatusOr<std::unique_ptr<JudgeClient>> JudgeClient::Create(const JudgeOptions& options) {
  RSIDIFF_ASSIGN_OR_RETURN(Endpoint endpoint, ParseEndpoint(options.endpoint));
  return absl::WrapUnique(new JudgeClient(std::make_unique<Impl>(options, std::move(endpoint))));
}

JudgeClient::JudgeClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

JudgeClient::~JudgeClient() = default;

absl::StatusOr<std::optional<Judgement>> JudgeClient::Ask(const std::string& prompt) {
  Backoff backoff({impl_->options().first_wait, kLongestWait});
  for (int tries = 1;; ++tries) {
    Impl::Try answer = impl_->AskOnce(prompt);
    if (answer.judgement.ok()) return std::optional<Judgement>(*std::move(answer.judgement));
    const absl::Status& status = answer.judgement.status();
    if (answer.wait && tries <= impl_->options().retries) {
      absl::SleepFor(std::min(std::max(backoff.Next(), *answer.wait), kLongestWait));
      continue;
    }
    if (!absl::IsInvalidArgument(status)) {
      return impl_->Annotated(absl::Status(
          status.code(),
          absl::StrCat(status.message(), tries > 1 ? absl::StrCat(" (", tries, " tries)") : "")));
    }
    why_unusable_ = std::string(status.message());
    return std::optional<Judgement>();
  }
}

}  // namespace rsidiff::coordinator
