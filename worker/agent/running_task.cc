#include "worker/agent/running_task.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/backoff.h"
#include "common/base/digest.h"

namespace rsidiff::worker {
namespace {

// Short, so that a lost lease or a forced stop is seen soon.
constexpr absl::Duration kJoinWait = absl::Seconds(2);
constexpr absl::Duration kCommitPatience = absl::Seconds(5);

}  // namespace

bool RunningTask::cancelled() const {
  return lease_->dropped() || around_.stop.HasBeenNotified();
}

void RunningTask::ReportProgress(double fraction) {
  lease_->SetProgress(fraction);
  around_.on_progress();
}

void RunningTask::Warn(const std::string& sentence) {
  Log(LogLevel::kWarning, sentence, LogFieldsOf(*lease_));
}

void RunningTask::ReportStep(uint64_t generation, uint64_t step, double loss) {
  lease_->SetStep(generation, step, loss);
  around_.metrics.SetTraining(step, loss);
}

void RunningTask::ReportRegroup(RegroupCause cause, double seconds) {
  around_.metrics.CountRegroup(cause, seconds);
}

bool RunningTask::regroup_requested() const {
  return lease_->regroup_requested();
}

v1::JoinTrainingRequest RunningTask::JoinRequest(const TrainingPosition& position) const {
  v1::JoinTrainingRequest request;
  request.set_request_id(RandomId());
  request.set_worker(around_.worker);
  *request.mutable_task() = lease_->grant().task();
  request.set_token(lease_->token());
  request.set_store_address(position.store_address);
  request.set_step(position.step);
  request.set_has_state(position.has_state);
  request.set_last_generation(position.last_generation);
  *request.mutable_gone_tokens() = {position.gone_tokens.begin(), position.gone_tokens.end()};
  *request.mutable_refused_checkpoints() = {position.refused_checkpoints.begin(),
                                            position.refused_checkpoints.end()};
  request.set_wait_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(kJoinWait)));
  return request;
}

absl::StatusOr<v1::JoinTrainingResponse> RunningTask::JoinTraining(const TrainingPosition& position) {
  v1::JoinTrainingRequest request = JoinRequest(position);
  Backoff backoff({absl::Milliseconds(100), absl::Seconds(2)});
  while (true) {
    if (lease_->dropped()) return absl::AbortedError("the lease on the training was lost");
    if (around_.stop.HasBeenNotified()) return absl::CancelledError("the worker stops");
    request.set_incarnation(around_.session.state().incarnation);
    absl::StatusOr<v1::JoinTrainingResponse> response =
        around_.client.JoinTraining(request, kJoinWait + kCallTimeout);
    if (response.ok() && response->formed()) {
      lease_->EnterGeneration(response->generation().generation());
      return response;
    }
    if (response.ok()) {
      request.set_request_id(RandomId());
      backoff.Reset();
      continue;
    }
    if (absl::IsNotFound(response.status())) {
      around_.session.RequestRegistration();
    } else if (absl::IsAborted(response.status())) {
      lease_->Drop();
      return response.status();
    } else if (!IsTransient(response.status())) {
      return response.status();
    }
    backoff.Wait(around_.stop);
  }
}

absl::Status RunningTask::CommitCheckpoint(uint64_t generation, uint64_t step, const std::string& digest) {
  v1::CommitCheckpointRequest request;
  request.set_request_id(RandomId());
  request.set_worker(around_.worker);
  *request.mutable_task() = lease_->grant().task();
  request.set_token(lease_->token());
  request.set_generation(generation);
  request.set_step(step);
  request.set_checkpoint(digest);
  Backoff backoff({absl::Milliseconds(100), absl::Seconds(1)});
  absl::Time patience_ends = absl::Now() + kCommitPatience;
  while (true) {
    request.set_incarnation(around_.session.state().incarnation);
    absl::Status status = around_.client.CommitCheckpoint(request, kCommitPatience);
    if (!IsTransient(status) || absl::Now() >= patience_ends) return status;
    if (!backoff.Wait(around_.stop)) return absl::CancelledError("the worker stops");
  }
}

}  // namespace rsidiff::worker
