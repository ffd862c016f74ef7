#include "coordinator/service/core_loop.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/fault_point.h"
#include "common/base/status_macros.h"

namespace rsidiff::coordinator {
namespace {

// Enough that the disk never waits for the core, and not much memory.
constexpr size_t kMaxArtifactsWaiting = 2;
constexpr absl::Duration kArtifactPoll = absl::Milliseconds(2);

}  // namespace

absl::StatusOr<std::unique_ptr<CoreLoop>> CoreLoop::Start(std::unique_ptr<Core> core, StepResult recovery,
                                                          CoreLoopOptions options) {
  for (const std::string& artifact : recovery.artifacts) {
    RSIDIFF_RETURN_IF_ERROR(options.artifacts->Put(artifact).status());
  }
  FaultPoint("recovery.loaded");
  RSIDIFF_RETURN_IF_ERROR(options.write(recovery.rows, Durability::kPowerLoss));
  FaultPoint("recovery.written");
  auto loop = absl::WrapUnique(new CoreLoop(std::move(core), std::move(options)));
  CommitOptions commit;
  commit.artifacts = loop->options_.artifacts;
  commit.write = loop->options_.write;
  commit.report = loop->options_.on_commit;
  commit.release = [self = loop.get()](std::vector<Reply> replies) { self->Release(std::move(replies)); };
  commit.fail = [self = loop.get()](const absl::Status& status) { self->Fail(status); };
  loop->pipeline_ = std::make_unique<CommitPipeline>(std::move(commit));
  loop->thread_ = std::thread([self = loop.get()] { self->Run(); });
  return loop;
}

CoreLoop::CoreLoop(std::unique_ptr<Core> core, CoreLoopOptions options)
    : options_(std::move(options)), core_(std::move(core)) {}

CoreLoop::~CoreLoop() {
  Stop();
}

uint64_t CoreLoop::Call(PendingCall call) {
  absl::Status refusal;
  uint64_t id;
  {
    absl::MutexLock lock(&mutex_);
    id = next_id_++;
    refusal = refusal_;
    if (refusal.ok() && queue_.size() >= options_.max_queue) {
      refusal = absl::ResourceExhaustedError("the coordinator is overloaded");
    }
    if (refusal.ok()) {
      queue_.push_back({id, std::move(call)});
      return id;
    }
  }
  call.done(refusal);
  return id;
}

void CoreLoop::Cancel(uint64_t id) {
  absl::MutexLock lock(&mutex_);
  // Without room the grants go back when their leases expire.
  if (!refusal_.ok() || queue_.size() >= options_.max_queue) return;
  PendingCall call;
  call.request = Cancelled{id};
  call.done = [](const absl::StatusOr<Response>&) {};  // nobody waits for this one either
  queue_.push_back({next_id_++, std::move(call)});
}

absl::StatusOr<Response> CoreLoop::CallAndWait(Request request, absl::Duration timeout) {
  struct Answer {
    absl::Notification arrived;
    absl::StatusOr<Response> response;
  };
  auto answer = std::make_shared<Answer>();
  PendingCall call;
  call.request = std::move(request);
  call.done = [answer](absl::StatusOr<Response> response) {
    answer->response = std::move(response);
    answer->arrived.Notify();
  };
  Call(std::move(call));
  if (!answer->arrived.WaitForNotificationWithTimeout(timeout)) {
    return absl::DeadlineExceededError("the coordinator did not answer in time");
  }
  return std::move(answer->response);
}

CoreStatistics CoreLoop::statistics() const {
  absl::MutexLock lock(&mutex_);
  return statistics_;
}

size_t CoreLoop::queue_size() const {
  absl::MutexLock lock(&mutex_);
  return queue_.size();
}

absl::Status CoreLoop::health() const {
  absl::MutexLock lock(&mutex_);
  return refusal_;
}

void CoreLoop::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    if (refusal_.ok()) refusal_ = absl::UnavailableError("the coordinator is stopping");
  }
  if (thread_.joinable()) thread_.join();
  pipeline_->Finish();
  Refuse(absl::UnavailableError("the coordinator is stopping"));
}

bool CoreLoop::ArtifactsFirst() const {
  return pipeline_->artifacts_waiting() > (core_->NextTickNamesArtifacts() ? 0 : kMaxArtifactsWaiting);
}

void CoreLoop::Run() {
  while (true) {
    std::deque<QueuedCall> batch;
    const bool put_off = ArtifactsFirst();
    {
      absl::Duration wait = std::max(absl::ZeroDuration(), core_->NextTimer() - options_.now());
      if (put_off) wait = std::max(wait, kArtifactPoll);
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(this, &CoreLoop::HasWork), wait);
      if (stopping_ && queue_.empty()) return;
      batch.swap(queue_);
    }
    for (QueuedCall& queued : batch) Step(std::move(queued));
    if (!put_off && core_->NextTimer() <= options_.now()) Tick();
    absl::MutexLock lock(&mutex_);
    statistics_ = core_->statistics();
  }
}

void CoreLoop::Step(QueuedCall queued) {
  PendingCall& call = queued.call;
  if (call.abandoned && call.abandoned()) {
    call.done(absl::CancelledError("the caller has gone"));
    return;
  }
  const auto* cancelled = std::get_if<Cancelled>(&call.request);
  if (cancelled != nullptr) Release({{cancelled->id, absl::CancelledError("the caller has gone")}});
  absl::Status failure;
  {
    absl::MutexLock lock(&mutex_);
    if (failed_) {
      failure = refusal_;
    } else if (cancelled == nullptr) {
      waiting_.emplace(queued.id, std::move(call.done));
    }
  }
  if (!failure.ok()) {
    call.done(failure);
    return;
  }
  pipeline_->Submit(core_->Step(options_.now(), Event{queued.id, std::move(call.request)}));
}

void CoreLoop::Tick() {
  pipeline_->Submit(core_->Step(options_.now(), Event{0, coordinator::Tick{}}));
}

void CoreLoop::Release(std::vector<Reply> replies) {
  for (Reply& reply : replies) {
    std::function<void(absl::StatusOr<Response>)> done;
    {
      absl::MutexLock lock(&mutex_);
      auto found = waiting_.find(reply.id);
      if (found == waiting_.end()) continue;
      done = std::move(found->second);
      waiting_.erase(found);
    }
    done(std::move(reply.response));
  }
}

void CoreLoop::Fail(const absl::Status& status) {
  absl::Status refusal =
      absl::UnavailableError(absl::StrCat("the coordinator cannot write its state: ", status.message()));
  {
    absl::MutexLock lock(&mutex_);
    failed_ = true;
    refusal_ = refusal;
  }
  Refuse(refusal);
  if (options_.on_failure) options_.on_failure(status);
}

void CoreLoop::Refuse(const absl::Status& status) {
  std::vector<std::function<void(absl::StatusOr<Response>)>> unanswered;
  {
    absl::MutexLock lock(&mutex_);
    if (refusal_.ok()) refusal_ = status;
    for (QueuedCall& queued : queue_) unanswered.push_back(std::move(queued.call.done));
    queue_.clear();
    for (auto& [id, done] : waiting_) unanswered.push_back(std::move(done));
    waiting_.clear();
  }
  for (auto& done : unanswered) done(status);
}

std::function<absl::Time()> SteadyClock() {
  absl::Time wall = absl::Now();
  auto steady = std::chrono::steady_clock::now();
  return [wall, steady] { return wall + absl::FromChrono(std::chrono::steady_clock::now() - steady); };
}

}  // namespace rsidiff::coordinator
