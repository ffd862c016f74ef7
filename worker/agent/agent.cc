#include "worker/agent/agent.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/backoff.h"
#include "common/base/digest.h"
#include "common/base/fault_point.h"
#include "common/telemetry/log.h"
#include "worker/agent/running_task.h"

namespace rsidiff::worker {
namespace {

constexpr absl::Duration kDrainCallTimeout = absl::Seconds(2);
constexpr absl::Duration kDrainGrace = absl::Seconds(1);
constexpr absl::Duration kForcedFlush = absl::Seconds(2);
constexpr BackoffOptions kObstacleBackoff = {absl::Seconds(1), absl::Seconds(30)};

uint64_t SamplesIn(const v1::TaskResult& result) {
  if (result.has_generate()) return result.generate().images_size();
  if (result.has_score() && result.score().columns_size() > 0) return result.score().columns(0).scores_size();
  return 0;
}

}  // namespace

Agent::Agent(AgentOptions options, const std::shared_ptr<grpc::Channel>& channel, TaskRunner& runner,
             WorkerMetrics& metrics)
    : options_(std::move(options)),
      stop_(*options_.stop),
      runner_(runner),
      metrics_(metrics),
      client_(channel),
      poll_client_(channel),
      report_client_(channel),
      session_({options_.name, options_.capabilities, absl::Seconds(5)}, client_, leases_,
               [this](const Session::State& state) { OnSessionChange(state); }),
      reporter_(options_.name, report_client_, session_, leases_,
                [this](v1::TaskKind kind, Outcome outcome) { metrics_.CountOutcome(kind, outcome); }),
      obstacle_backoff_(kObstacleBackoff) {}

Agent::~Agent() = default;

absl::Status Agent::Run() {
  session_.Start();
  reporter_.Start();
  poll_thread_ = std::thread([this] { PollLoop(); });
  while (std::shared_ptr<Lease> lease = NextLease()) Execute(lease);
  return Finish();
}

absl::Status Agent::Finish() {
  {
    absl::MutexLock lock(&mutex_);
    finished_ = true;
    // Work that was granted just before the drain would otherwise wait for its lease to expire.
    mutex_.AwaitWithTimeout(absl::Condition(this, &Agent::NotPolling), kDrainGrace);
  }
  poll_client_.CancelAll();
  poll_thread_.join();
  ReturnQueued();
  absl::Status status = session_.state().status;
  // A finished result is worth waiting for as long as the coordinator may come back; only a forced stop
  // or a lost name ends that.
  while (status.ok() && !stop_.HasBeenNotified() && !reporter_.Flush(absl::Milliseconds(200))) {
    status = session_.state().status;
  }
  if (stop_.HasBeenNotified()) reporter_.Flush(kForcedFlush);
  reporter_.Stop();
  session_.Stop();
  return status;
}

void Agent::Drain() {
  {
    absl::MutexLock lock(&mutex_);
    if (std::exchange(drain_, true) || session_state_.registrations == 0) return;
  }
  v1::DrainWorkerRequest request;
  request.set_request_id(RandomId());
  request.set_name(options_.name);
  request.set_reason("the worker was asked to stop");
  // So that the coordinator grants nothing more and moves a training's membership on. Best effort: a
  // coordinator that is away learns it from the leases.
  absl::Status status = client_.DrainWorker(request, kDrainCallTimeout);
  if (!status.ok())
    LogWarning(absl::StrCat("the coordinator does not know of the drain: ", status.message()));
  session_.RequestHeartbeat();
}

void Agent::Stop() {
  absl::MutexLock lock(&mutex_);
  drain_ = true;
  if (!stop_.HasBeenNotified()) stop_.Notify();
}

absl::Status Agent::Ready() const {
  Session::State state = session_.state();
  if (!state.status.ok()) return state.status;
  if (state.registrations == 0) return absl::UnavailableError("not registered with the coordinator yet");
  if (!session_.InContact()) return absl::UnavailableError("no contact with the coordinator");
  absl::MutexLock lock(&mutex_);
  return obstacle_;
}

void Agent::OnSessionChange(const Session::State& state) {
  bool deadline_passed = state.draining && state.drain_deadline.has_value() &&
                         std::chrono::steady_clock::now() >= *state.drain_deadline;
  absl::MutexLock lock(&mutex_);
  if (state.registrations > session_state_.registrations) metrics_.CountRegistration();
  session_state_ = state;
  if (deadline_passed && !stop_.HasBeenNotified()) stop_.Notify();
}

bool Agent::Leaving() const {
  return drain_ || session_state_.draining || !session_state_.status.ok() || stop_.HasBeenNotified();
}

bool Agent::WantsWork() const {
  if (Leaving() || session_state_.registrations == 0 || !queue_.empty() || resting_) return false;
  if (current_ == nullptr) return true;
  // A training lasts; what waits behind it is better done elsewhere.
  return current_->kind() != v1::TASK_KIND_TRAIN && current_->progress() >= options_.prefetch_at;
}

bool Agent::PollMayMove() const {
  return finished_ || WantsWork();
}

bool Agent::ExecutorMayMove() const {
  return !queue_.empty() || Leaving();
}

void Agent::PollLoop() {
  Backoff backoff({absl::Milliseconds(100), absl::Seconds(2)});
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &Agent::PollMayMove));
      if (finished_) return;
      polling_ = true;
    }
    absl::StatusOr<v1::LeaseResponse> response = PollOnce();
    if (response.ok()) {
      backoff.Reset();
      TakeGrants(*std::move(response));
    } else if (!absl::IsCancelled(response.status())) {
      if (absl::IsNotFound(response.status()) || absl::IsAborted(response.status())) {
        session_.RequestRegistration();
      } else if (!IsTransient(response.status())) {
        LogWarning(absl::StrCat("the coordinator gives no work: ", response.status().message()));
      }
      backoff.Wait(stop_);
    }
    absl::MutexLock lock(&mutex_);
    polling_ = false;
  }
}

absl::StatusOr<v1::LeaseResponse> Agent::PollOnce() {
  v1::LeaseRequest request;
  request.set_request_id(RandomId());
  request.set_worker(options_.name);
  request.set_max_tasks(1);
  request.set_wait_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(options_.poll_wait)));
  Backoff backoff({absl::Milliseconds(100), absl::Seconds(2)});
  bool reported = false;
  while (true) {
    request.set_incarnation(session_.state().incarnation);
    absl::StatusOr<v1::LeaseResponse> response =
        poll_client_.Lease(request, options_.poll_wait + absl::Seconds(5));
    // The same request id asks for the same grant, should the answer alone have been lost.
    if (response.ok() || !IsTransient(response.status())) return response;
    {
      absl::MutexLock lock(&mutex_);
      if (finished_) return absl::CancelledError("the worker leaves");
    }
    // Lost contact is the session's to tell.
    if (!absl::IsUnavailable(response.status()) && !std::exchange(reported, true)) {
      LogWarning(absl::StrCat("a request for work has failed, trying again: ", response.status().message()));
    }
    // Once stopped it would not wait; a grant whose answer was lost expires then.
    if (!backoff.Wait(stop_)) return absl::CancelledError("the worker stops");
  }
}

void Agent::TakeGrants(v1::LeaseResponse response) {
  for (v1::Grant& grant : *response.mutable_grants()) {
    std::shared_ptr<Lease> lease = leases_.Add(std::move(grant));
    absl::MutexLock lock(&mutex_);
    queue_.push_back(std::move(lease));
  }
}

std::shared_ptr<Lease> Agent::NextLease() {
  constexpr absl::Duration kLook = absl::Milliseconds(100);
  absl::MutexLock lock(&mutex_);
  while (true) {
    mutex_.AwaitWithTimeout(absl::Condition(this, &Agent::ExecutorMayMove), absl::Seconds(1));
    if (Leaving()) return nullptr;
    if (queue_.empty()) continue;
    if (!session_.InContact()) {
      // Contact comes and goes with time, not with an event of ours.
      mutex_.AwaitWithTimeout(absl::Condition(this, &Agent::Leaving), kLook);
      continue;
    }
    std::shared_ptr<Lease> lease = std::move(queue_.front());
    queue_.pop_front();
    if (lease->dropped()) {
      metrics_.CountOutcome(lease->kind(), Outcome::kFenced);
      continue;
    }
    current_ = lease;
    return lease;
  }
}

void Agent::Execute(const std::shared_ptr<Lease>& lease) {
  FaultPoint(absl::StrCat("begin-", TaskKindName(lease->kind())));
  metrics_.BeginTask(lease->kind());
  RunningTask task(lease, {options_.name, client_, session_, metrics_, stop_,
                           // Lets the poll thread look at the progress: conditions are tried at unlock.
                           [this] { absl::MutexLock lock(&mutex_); }});
  absl::Time begun = absl::Now();
  absl::StatusOr<v1::TaskResult> result = runner_.Run(lease->grant(), task);
  double seconds = absl::ToDoubleSeconds(absl::Now() - begun);
  FaultPoint(absl::StrCat("computed-", TaskKindName(lease->kind())));
  metrics_.EndTask();
  {
    absl::MutexLock lock(&mutex_);
    current_ = nullptr;
  }

  if (lease->dropped()) {
    leases_.Remove(lease->token());
    metrics_.CountOutcome(lease->kind(), Outcome::kFenced);
    Log(LogLevel::kInfo, "the lease was lost; its result is dropped", LogFieldsOf(*lease));
    return;
  }
  if (!result.ok() && (absl::IsCancelled(result.status()) || absl::IsAborted(result.status())))
    return Return(lease);
  if (!result.ok() && IsObstacle(result.status())) return ReturnAndRest(lease, result.status());
  {
    absl::MutexLock lock(&mutex_);
    obstacle_ = absl::OkStatus();
  }
  obstacle_backoff_.Reset();
  Completion completion;
  completion.lease = lease;
  completion.request.set_seconds(seconds);
  if (result.ok()) {
    metrics_.CountSamples(lease->kind(), SamplesIn(*result));
    *completion.request.mutable_result() = *std::move(result);
  } else {
    Log(LogLevel::kError, result.status().message(), LogFieldsOf(*lease));
    completion.request.set_error(std::string(result.status().message()));
    completion.outcome = Outcome::kError;
  }
  reporter_.Submit(std::move(completion));
}

void Agent::Return(const std::shared_ptr<Lease>& lease) {
  Completion completion;
  completion.lease = lease;
  completion.request.set_returned(true);
  completion.outcome = Outcome::kReturned;
  reporter_.Submit(std::move(completion));
}

void Agent::ReturnAndRest(const std::shared_ptr<Lease>& lease, const absl::Status& why) {
  Log(LogLevel::kWarning, absl::StrCat("given back: ", why.message()), LogFieldsOf(*lease));
  {
    absl::MutexLock lock(&mutex_);
    obstacle_ = why;
    resting_ = true;
  }
  Return(lease);
  // Others may do it meanwhile.
  ReturnQueued();
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(this, &Agent::Leaving), obstacle_backoff_.Next());
  resting_ = false;
}

void Agent::ReturnQueued() {
  std::deque<std::shared_ptr<Lease>> queued;
  {
    absl::MutexLock lock(&mutex_);
    queued.swap(queue_);
  }
  for (const std::shared_ptr<Lease>& lease : queued) Return(lease);
}

}  // namespace rsidiff::worker
