#include "worker/agent/session.h"

#include <algorithm>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "common/base/backoff.h"
#include "common/base/digest.h"
#include "common/base/protocol.h"
#include "common/telemetry/log.h"

namespace rsidiff::worker {
namespace {

// A notification of stop_ does not touch mutex_, so it is looked at from time to time.
constexpr absl::Duration kLook = absl::Milliseconds(100);

// A name that is fenced this often without one heartbeat in between is used by another living process.
constexpr int kFencedInARowLimit = 3;

}  // namespace

Session::Session(SessionOptions options, CoordinatorClient& client, LeaseTable& leases,
                 std::function<void(const State&)> on_change)
    : options_(std::move(options)), client_(client), leases_(leases), on_change_(std::move(on_change)) {}

Session::~Session() {
  Stop();
}

void Session::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void Session::Stop() {
  if (!thread_.joinable()) return;
  stop_.Notify();
  client_.CancelAll();
  thread_.join();
}

Session::State Session::state() const {
  absl::MutexLock lock(&mutex_);
  return state_;
}

void Session::RequestRegistration() {
  absl::MutexLock lock(&mutex_);
  registered_ = false;
  wake_ = true;
}

void Session::RequestHeartbeat() {
  absl::MutexLock lock(&mutex_);
  wake_ = true;
}

bool Session::InContact() const {
  absl::MutexLock lock(&mutex_);
  return registered_ && absl::FromChrono(Clock::now() - renewed_) < ttl_ * 2 / 3;
}

absl::Duration Session::HeartbeatInterval() const {
  absl::BitGen random;
  absl::MutexLock lock(&mutex_);
  return ttl_ / 3 * absl::Uniform(random, 0.9, 1.1);
}

void Session::Loop() {
  Backoff backoff({absl::Milliseconds(200), absl::Seconds(2)});
  while (!stop_.HasBeenNotified()) {
    bool registered;
    {
      absl::MutexLock lock(&mutex_);
      registered = registered_;
    }
    if (registered) {
      HeartbeatOnce();
    } else {
      RegisterOnce();
    }
    {
      absl::MutexLock lock(&mutex_);
      if (!state_.status.ok()) return;
      registered = registered_;
    }
    if (registered) backoff.Reset();
    if (registered) {
      Pause(HeartbeatInterval());
    } else {
      AwaitContact(backoff.Next());
    }
  }
}

void Session::Pause(absl::Duration duration) {
  const Clock::time_point until = Clock::now() + absl::ToChronoNanoseconds(duration);
  absl::MutexLock lock(&mutex_);
  while (!stop_.HasBeenNotified() && Clock::now() < until) {
    if (mutex_.AwaitWithTimeout(absl::Condition(&wake_),
                                std::min(kLook, absl::FromChrono(until - Clock::now())))) {
      break;
    }
  }
  wake_ = false;
}

void Session::AwaitContact(absl::Duration limit) {
  // A coordinator that is there, and does not take this worker now, is given its time.
  if (client_.AwaitConnection(absl::ZeroDuration())) return Pause(limit);
  const Clock::time_point until = Clock::now() + absl::ToChronoNanoseconds(limit);
  while (!stop_.HasBeenNotified() && Clock::now() < until) {
    if (client_.AwaitConnection(std::min(kLook, absl::FromChrono(until - Clock::now())))) return;
  }
}

void Session::RegisterOnce() {
  v1::RegisterRequest request;
  {
    absl::MutexLock lock(&mutex_);
    if (request_id_.empty()) request_id_ = RandomId();
    request.set_request_id(request_id_);
    request.set_incarnation(state_.incarnation);
  }
  request.set_name(options_.name);
  request.set_protocol_version(kProtocolVersion);
  *request.mutable_capabilities() = options_.capabilities;
  for (v1::HeldLease& held : leases_.Held()) *request.add_held() = std::move(held);

  Clock::time_point sent = Clock::now();
  absl::StatusOr<v1::RegisterResponse> response = client_.Register(request, options_.call_timeout);
  if (stop_.HasBeenNotified()) return;
  if (!response.ok()) {
    if (IsTransient(response.status())) return Lose(std::string(response.status().message()));
    if (absl::IsAborted(response.status())) {
      return Fail(absl::AbortedError(absl::StrCat("another process works under the name '", options_.name,
                                                  "': ", response.status().message())));
    }
    return Fail(absl::Status(response.status().code(), absl::StrCat("the coordinator refused this worker: ",
                                                                    response.status().message())));
  }
  leases_.Drop({response->dropped_tokens().begin(), response->dropped_tokens().end()});
  std::string sentence;
  {
    absl::MutexLock lock(&mutex_);
    registered_ = true;
    reported_unreachable_ = false;
    request_id_.clear();
    renewed_ = sent;
    if (response->lease_ttl_ms() > 0) ttl_ = absl::Milliseconds(response->lease_ttl_ms());
    state_.incarnation = response->incarnation();
    ++state_.registrations;
    sentence = absl::StrCat("registered as '", options_.name, "' (incarnation ", state_.incarnation, ")");
  }
  LogInfo(sentence);
  Publish();
}

void Session::HeartbeatOnce() {
  v1::HeartbeatRequest request;
  request.set_worker(options_.name);
  request.set_incarnation(state().incarnation);
  for (v1::HeldLease& held : leases_.Held()) *request.add_held() = std::move(held);

  Clock::time_point sent = Clock::now();
  absl::StatusOr<v1::HeartbeatResponse> response = client_.Heartbeat(request, options_.call_timeout);
  if (stop_.HasBeenNotified()) return;
  if (!response.ok()) {
    if (absl::IsAborted(response.status())) {
      leases_.DropAll();
      absl::MutexLock lock(&mutex_);
      ++fenced_in_a_row_;
      if (fenced_in_a_row_ >= kFencedInARowLimit) {
        state_.status = absl::AbortedError(absl::StrCat("another process works under the name '",
                                                        options_.name, "'; give each worker its own --name"));
      }
    }
    return Lose(std::string(response.status().message()));
  }
  leases_.Apply(request, *response);
  {
    absl::MutexLock lock(&mutex_);
    renewed_ = sent;
    fenced_in_a_row_ = 0;
    if (response->lease_ttl_ms() > 0) ttl_ = absl::Milliseconds(response->lease_ttl_ms());
    state_.draining = response->draining();
    state_.drain_deadline.reset();
    if (response->has_drain_left_ms()) {
      state_.drain_deadline = sent + std::chrono::milliseconds(response->drain_left_ms());
    }
  }
  Publish();
}

void Session::Lose(const std::string& why) {
  bool first;
  {
    absl::MutexLock lock(&mutex_);
    registered_ = false;
    first = !std::exchange(reported_unreachable_, true);
  }
  if (first) LogWarning(absl::StrCat("no contact with the coordinator, trying again: ", why));
  Publish();
}

void Session::Fail(const absl::Status& status) {
  // Nobody can be told of a result any more; a training, too, would wait for its next members in vain.
  leases_.DropAll();
  {
    absl::MutexLock lock(&mutex_);
    registered_ = false;
    state_.status = status;
  }
  Publish();
}

void Session::Publish() {
  on_change_(state());
}

}  // namespace rsidiff::worker
