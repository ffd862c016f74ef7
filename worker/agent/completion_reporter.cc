#include "worker/agent/completion_reporter.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/backoff.h"
#include "common/base/digest.h"
#include "common/telemetry/log.h"

namespace rsidiff::worker {

const char* OutcomeName(Outcome outcome) {
  switch (outcome) {
    case Outcome::kDone:
      return "done";
    case Outcome::kError:
      return "error";
    case Outcome::kReturned:
      return "returned";
    case Outcome::kFenced:
      return "fenced";
  }
  return "unknown";
}

CompletionReporter::CompletionReporter(std::string worker, CoordinatorClient& client, Session& session,
                                       LeaseTable& leases, std::function<void(v1::TaskKind, Outcome)> on_end)
    : worker_(std::move(worker)),
      client_(client),
      session_(session),
      leases_(leases),
      on_end_(std::move(on_end)) {}

CompletionReporter::~CompletionReporter() {
  Stop();
}

void CompletionReporter::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void CompletionReporter::Submit(Completion completion) {
  absl::MutexLock lock(&mutex_);
  queue_.push_back(std::move(completion));
}

bool CompletionReporter::Flush(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(this, &CompletionReporter::Idle), timeout);
}

void CompletionReporter::Stop() {
  if (!thread_.joinable()) return;
  stop_.Notify();
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void CompletionReporter::Loop() {
  while (true) {
    Completion completion;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &CompletionReporter::HasWork));
      if (stopping_) return;
      completion = std::move(queue_.front());
      queue_.pop_front();
      delivering_ = true;
    }
    Outcome outcome = Deliver(completion);
    leases_.Remove(completion.lease->token());
    on_end_(completion.lease->kind(), outcome);
    absl::MutexLock lock(&mutex_);
    delivering_ = false;
  }
}

Outcome CompletionReporter::Deliver(Completion& completion) {
  v1::CompleteRequest& request = completion.request;
  request.set_request_id(RandomId());
  request.set_worker(worker_);
  *request.mutable_task() = completion.lease->grant().task();
  request.set_token(completion.lease->token());

  Backoff backoff({absl::Milliseconds(200), absl::Seconds(5)});
  std::optional<uint64_t> unknown_at;  // registrations when the coordinator did not know the worker
  do {
    if (completion.lease->dropped()) return Outcome::kFenced;
    Session::State state = session_.state();
    request.set_incarnation(state.incarnation);
    absl::Status status = client_.Complete(request, kCallTimeout);
    if (status.ok()) return completion.outcome;
    if (absl::IsAborted(status)) {
      // Registered anew while the call was on its way: the lease may be valid under the new incarnation.
      if (session_.state().incarnation != state.incarnation) continue;
      return Outcome::kFenced;
    }
    if (absl::IsNotFound(status)) {
      // Not known although registered anew: it is the task that is gone.
      if (unknown_at.has_value() && state.registrations > *unknown_at) return Outcome::kFenced;
      if (!unknown_at.has_value()) unknown_at = state.registrations;
      session_.RequestRegistration();
    } else if (!IsTransient(status)) {
      // A result that does not pass the coordinator's check has ended the lease there, as a task's error.
      Log(LogLevel::kError, absl::StrCat("the coordinator does not take the result: ", status.message()),
          LogFieldsOf(*completion.lease));
      return Outcome::kError;
    }
  } while (backoff.Wait(stop_));
  return Outcome::kFenced;
}

}  // namespace rsidiff::worker
