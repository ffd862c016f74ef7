#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "common/base/protocol.h"
#include "coordinator/schedule/offer.h"
#include "coordinator/state/core_impl.h"

namespace rsidiff::coordinator {
namespace {

v1::TaskCounts Count(const Run& run, const Round& round, const GroupKey& key, const TaskGroup& group) {
  v1::TaskCounts counts;
  counts.set_round(round.record.round());
  counts.set_kind(key.first);
  counts.set_purpose(key.second);
  counts.set_total(group.total);
  counts.set_done(group.done);
  counts.set_leased(group.leased);
  counts.set_failed(group.failed);
  auto plan = round.plan.find(key.second);
  bool samples = key.first == v1::TASK_KIND_GENERATE || key.first == v1::TASK_KIND_SCORE;
  if (!samples || plan == round.plan.end() || group.total == 0) return counts;
  uint32_t total = plan->second.size();
  uint32_t chunk = std::max<uint32_t>(run.record.spec().sampling().chunk(), 1);
  uint32_t last = total - (group.total - 1) * chunk;  // the last chunk may be short
  auto last_task = round.tasks.find({run.id(), round.record.round(), key.first, key.second, group.total - 1});
  bool last_done = last_task != round.tasks.end() && last_task->second.record.state() == v1::TASK_STATE_DONE;
  counts.set_samples_total(total);
  counts.set_samples_done(group.done * chunk - (last_done ? chunk - last : 0));
  return counts;
}

/// What grows with the samples: with it a list of a few hundred runs would pass gRPC's limit.
void LeaveOutArtifacts(v1::RoundRecord& round) {
  round.clear_manifest_parts();
  round.clear_evaluation_features();
  round.clear_prompt_embeddings();
  round.clear_reference_moments();
}

}  // namespace

absl::StatusOr<Response> Core::Impl::Handle(const v1::GetInfoRequest& request) {
  v1::GetInfoResponse response;
  response.set_version(options_.version);
  response.set_protocol_version(kProtocolVersion);
  response.set_cluster_id(meta_.cluster_id());
  response.set_epoch(meta_.epoch());
  response.set_http_address(options_.http_address);
  response.set_now_us(NowMicros());
  return response;
}

absl::StatusOr<Response> Core::Impl::Handle(const v1::ListRunsRequest& request) {
  v1::ListRunsResponse response;
  std::map<v1::RunState, uint32_t> counts;
  for (const auto& [id, run] : runs_) {
    ++counts[run.record.state()];
    if (run.ended() && run.record.ended_us() < request.ended_since_us()) continue;
    v1::RunStatus& status = *response.add_runs();
    status = Status(run);
    for (v1::RoundRecord& round : *status.mutable_rounds()) LeaveOutArtifacts(round);
  }
  for (const auto& [state, runs] : counts) {
    v1::RunCount* count = response.add_counts();
    count->set_state(state);
    count->set_runs(runs);
  }
  return response;
}

absl::StatusOr<Response> Core::Impl::Handle(const v1::GetRunRequest& request) {
  auto run = runs_.find(request.run_id());
  if (run == runs_.end()) return absl::NotFoundError(absl::StrCat("no such run: ", request.run_id()));
  return Status(run->second);
}

absl::StatusOr<Response> Core::Impl::Handle(const v1::ListWorkersRequest& request) {
  v1::ListWorkersResponse response;
  for (const auto& [name, worker] : workers_) *response.add_workers() = Describe(worker);
  return response;
}

v1::WorkerRecord Core::Impl::Describe(const Worker& worker) const {
  v1::WorkerRecord record = worker.record;
  record.set_seen_us(absl::ToUnixMicros(std::min(worker.seen, now_)));
  for (uint64_t token : worker.tokens) *record.add_held() = leases_.at(token).task.ToKey();
  return record;
}

bool Core::Impl::SomebodyTakes(const Run& run, v1::TaskKind kind) const {
  return std::any_of(workers_.begin(), workers_.end(), [&](const auto& entry) {
    const v1::WorkerRecord& worker = entry.second.record;
    return worker.state() == v1::WORKER_STATE_ACTIVE && Takes(worker.capabilities(), run.record.spec(), kind);
  });
}

std::string Core::Impl::WaitsFor(const Run& run) const {
  if (run.record.state() != v1::RUN_STATE_ACTIVE) return "";
  for (const auto& [number, round] : run.rounds) {
    const Training& training = round.training;
    if (training.lacks_workers && !training.joiners.empty()) {
      return absl::StrCat("training of round ", number, " ", training.waiting);
    }
    for (const auto& [key, group] : round.groups) {
      if (group.ready.empty() || SomebodyTakes(run, key.first)) continue;
      if (CountWorkers(v1::WORKER_STATE_ACTIVE) == 0) return "no worker is active";
      return absl::StrCat("no active worker takes: ", NeedText(run.record.spec(), key.first, key.second));
    }
  }
  return "";
}

v1::RunStatus Core::Impl::Status(const Run& run) const {
  v1::RunStatus status;
  *status.mutable_run() = run.record;
  status.set_best_score(run.best_score);
  status.set_last_error(run.last_error);
  status.set_waits_for(WaitsFor(run));
  for (const auto& [number, round] : run.rounds) {
    *status.add_rounds() = round.record;
    if (run.ended() || round.record.phase() == v1::ROUND_PHASE_DONE) continue;
    for (const auto& [key, group] : round.groups) *status.add_tasks() = Count(run, round, key, group);
    if (round.record.phase() != v1::ROUND_PHASE_TRAIN) continue;
    v1::TrainProgress& training = *status.mutable_training();
    training.set_round(number);
    training.set_steps(run.record.spec().train().steps());
    if (round.training.generations.empty()) continue;
    const v1::GenerationRecord& current = round.training.generations.back();
    training.set_generation(current.generation());
    training.set_step(current.checkpoint_step());
    training.set_checkpoint_step(current.checkpoint_step());
    for (const auto& member : current.members()) {
      auto lease = leases_.find(member.token());
      if (lease == leases_.end()) continue;
      training.set_members(training.members() + 1);
      if (lease->second.step >= training.step()) {
        training.set_step(lease->second.step);
        training.set_loss(lease->second.loss);
      }
    }
  }
  return status;
}

}  // namespace rsidiff::coordinator
