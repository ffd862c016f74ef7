#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/schedule/offer.h"
#include "coordinator/state/core_impl.h"
#include "coordinator/state/payload.h"

namespace rsidiff::coordinator {
namespace {

uint64_t BackoffSalt(const TaskId& task) {
  return task.run_id << 40 ^ uint64_t { task.round } << 28 ^ uint64_t(task.kind) << 24 ^ task.purpose << 20 ^
         task.index;
}

}  // namespace

v1::LeaseResponse Core::Impl::GrantTasks(Worker& worker, const std::string& request_id, uint32_t max_tasks) {
  v1::LeaseResponse response;
  v1::RequestRecord record;
  record.set_method(v1::LeaseRequest::descriptor()->name());
  while (response.grants_size() < static_cast<int>(max_tasks)) {
    // Training takes the worker whole, so it is never handed out with other tasks.
    auto placement = Place(Demands(worker, response.grants().empty()));
    if (!placement.has_value()) break;
    TaskId id{placement->run_id, placement->task.round, placement->task.kind, placement->task.purpose,
              placement->task.index};
    Task& task = *FindTask(id);
    v1::Grant* grant = response.add_grants();
    grant->set_token(Grant(worker, task, request_id));
    *grant->mutable_task() = id.ToKey();
    *grant->mutable_payload() = MakePayload(runs_.at(id.run_id), id);
    auto* kept = record.add_grants();
    kept->set_token(grant->token());
    *kept->mutable_task() = id.ToKey();
    if (id.kind == v1::TASK_KIND_TRAIN) break;
  }
  if (!response.grants().empty()) RememberRequest(request_id, std::move(record));
  return response;
}

std::vector<RunDemand> Core::Impl::Demands(const Worker& worker, bool training_allowed) {
  std::vector<RunDemand> demands;
  for (uint64_t id : open_runs_) {
    Run& run = runs_.at(id);
    if (run.record.state() != v1::RUN_STATE_ACTIVE) continue;
    RunDemand demand;
    demand.run_id = id;
    demand.leased = run.leased;
    demand.granted = run.granted;
    for (auto& [number, round] : run.rounds) {
      AddCandidates(worker, run, round, demand);
      auto task = round.tasks.find({id, number, v1::TASK_KIND_TRAIN, v1::PURPOSE_TRAINING, 0});
      if (training_allowed && task != round.tasks.end() && MayTrain(worker, run, round, task->second)) {
        demand.candidates.push_back({number, v1::TASK_KIND_TRAIN, v1::PURPOSE_TRAINING, 0, false, 0});
      }
    }
    demands.push_back(std::move(demand));
  }
  return demands;
}

bool Core::Impl::HasOpenWork() const {
  for (uint64_t id : open_runs_) {
    const Run& run = runs_.at(id);
    if (run.record.state() != v1::RUN_STATE_ACTIVE) continue;
    for (const auto& [number, round] : run.rounds) {
      if (round.record.phase() == v1::ROUND_PHASE_TRAIN) return true;  // anybody may join a training
      for (const auto& [key, group] : round.groups) {
        if (!group.ready.empty()) return true;
      }
    }
  }
  return false;
}

void Core::Impl::AddCandidates(const Worker& worker, const Run& run, const Round& round,
                               RunDemand& demand) const {
  for (const auto& [key, group] : round.groups) {
    const v1::TaskKind kind = key.first;
    const v1::Purpose purpose = key.second;
    auto kept = group.kept_for.find(worker.record.name());
    if (kind == v1::TASK_KIND_TRAIN || (group.ready.empty() && kept == group.kept_for.end())) continue;
    if (!Takes(worker.record.capabilities(), run.record.spec(), kind)) continue;
    uint32_t in_branch = 0;
    for (v1::TaskKind of_branch : {v1::TASK_KIND_GENERATE, v1::TASK_KIND_SCORE}) {
      auto other = round.groups.find({of_branch, purpose});
      if (other != round.groups.end()) in_branch += other->second.leased;
    }
    auto add = [&](const std::set<uint32_t>& indices, bool here) {
      TaskId any{run.id(), round.record.round(), kind, purpose, 0};
      std::optional<uint32_t> index = FirstTakeable(worker, any, indices);
      if (index) demand.candidates.push_back({any.round, any.kind, any.purpose, *index, here, in_branch});
    };
    if (kept != group.kept_for.end()) add(kept->second, true);
    add(group.ready, false);
  }
}

std::optional<uint32_t> Core::Impl::FirstTakeable(const Worker& worker, const TaskId& any,
                                                  const std::set<uint32_t>& indices) const {
  const auto& tasks = runs_.at(any.run_id).rounds.at(any.round).tasks;
  TaskView view;
  view.now = now_;
  view.worker = worker.record.name();
  view.alone = CountWorkers(v1::WORKER_STATE_ACTIVE) <= 1;
  for (uint32_t index : indices) {
    const Task& task = tasks.at({any.run_id, any.round, any.kind, any.purpose, index});
    view.preferred_worker = IsActive(task.preferred_worker) ? task.preferred_worker : "";
    view.preferred_until = task.preferred_until;
    view.last_worker = task.record.last_worker();
    view.failed_at = task.failed_at;
    if (MayTake(view)) return index;
  }
  return std::nullopt;
}

bool Core::Impl::MayTrain(const Worker& worker, const Run& run, const Round& round, const Task& task) const {
  const v1::TaskRecord& record = task.record;
  if (!Takes(worker.record.capabilities(), run.record.spec(), v1::TASK_KIND_TRAIN)) return false;
  if (record.state() == v1::TASK_STATE_DONE || record.state() == v1::TASK_STATE_FAILED) return false;
  if (record.state() == v1::TASK_STATE_PENDING && record.not_before_us() > NowMicros()) return false;
  uint64_t step = 0;
  for (const v1::TaskLease& member : record.gang()) {
    if (member.worker() == worker.record.name()) return false;
    step = std::max(step, leases_.at(member.token()).step);
  }
  const v1::RunSpec& spec = run.record.spec();
  return Joinable(record.gang_size(), spec.workers().train_max(), step, spec.train().steps());
}

uint64_t Core::Impl::Grant(Worker& worker, Task& task, const std::string& request_id) {
  TaskId id = TaskId::From(task.record.key());
  Lease lease;
  lease.token = meta_.epoch() << 40 | ++token_counter_;
  lease.task = id;
  lease.worker = worker.record.name();
  lease.incarnation = worker.record.incarnation();
  lease.request_id = request_id;
  lease.deadline = now_ + options_.lease_ttl;
  if (id.kind == v1::TASK_KIND_TRAIN) {
    v1::TaskLease* member = task.record.add_gang();
    member->set_token(lease.token);
    member->set_worker(lease.worker);
    member->set_incarnation(lease.incarnation);
    member->set_granted_us(NowMicros());
    if (task.record.granted_us() == 0) task.record.set_granted_us(NowMicros());
  } else {
    task.record.set_token(lease.token);
    task.record.set_worker(lease.worker);
    task.record.set_incarnation(lease.incarnation);
    task.record.set_granted_us(NowMicros());
  }
  SetTaskState(task, v1::TASK_STATE_LEASED);
  PutTask(task);
  worker.tokens.insert(lease.token);
  Run& run = runs_.at(id.run_id);
  ++run.leased;
  ++run.granted;
  ++statistics_.leases_granted;
  uint64_t token = lease.token;
  leases_due_ = std::min(leases_due_, lease.deadline);
  leases_.emplace(token, std::move(lease));
  return token;
}

void Core::Impl::Claim(Lease& lease) {
  if (!std::exchange(lease.claimed, true)) requests_.Arrived(lease.request_id);
}

Lease* Core::Impl::ValidLease(uint64_t token, const TaskId& task, const Worker& worker) {
  auto found = leases_.find(token);
  if (found == leases_.end()) return nullptr;
  Lease& lease = found->second;
  bool own = lease.task == task && lease.worker == worker.record.name() &&
             lease.incarnation == worker.record.incarnation();
  return own ? &lease : nullptr;
}

void Core::Impl::Reassert(Lease& lease) {
  lease.unknown = false;
  Task& task = *FindTask(lease.task);
  for (v1::TaskLease& member : *task.record.mutable_gang()) {
    if (member.token() == lease.token) member.set_unknown(false);
  }
  SetTaskState(task, v1::TASK_STATE_LEASED);
  PutTask(task);
}

Lease Core::Impl::RemoveLease(uint64_t token) {
  Lease lease = leases_.at(token);
  leases_.erase(token);
  --runs_.at(lease.task.run_id).leased;
  v1::TaskRecord& record = FindTask(lease.task)->record;
  if (lease.task.kind == v1::TASK_KIND_TRAIN) {
    auto& gang = *record.mutable_gang();
    gang.erase(std::remove_if(gang.begin(), gang.end(),
                              [token](const v1::TaskLease& m) { return m.token() == token; }),
               gang.end());
  } else {
    record.clear_token();
    record.clear_worker();
    record.clear_incarnation();
  }
  auto worker = workers_.find(lease.worker);
  if (worker != workers_.end() && worker->second.tokens.erase(token) > 0) {
    FinishDrain(worker->second);
    workers_due_ = std::min(workers_due_, DueTime(worker->second));
  }
  return lease;
}

void Core::Impl::EndLease(uint64_t token, LeaseEnd end, const std::string& error) {
  if (leases_.count(token) == 0) return;
  Lease lease = RemoveLease(token);
  Task& task = *FindTask(lease.task);
  Run& run = runs_.at(lease.task.run_id);
  sync_ = true;
  if (lease.task.kind == v1::TASK_KIND_TRAIN) {
    LeaveTraining(lease.task, token, absl::AbortedError(absl::StrCat("FENCED: ", error)));
    // A failed step fails on every member; the error counts once and the gang starts over.
    if (end == LeaseEnd::kError) DropLeases(lease.task);
    bool others = !task.record.gang().empty();
    if (others) {
      bool known = std::any_of(task.record.gang().begin(), task.record.gang().end(),
                               [](const v1::TaskLease& member) { return !member.unknown(); });
      SetTaskState(task, known ? v1::TASK_STATE_LEASED : v1::TASK_STATE_UNKNOWN);
      PutTask(task);
      work_for_everybody_ = true;
      return;
    }
  }
  v1::TaskRecord& record = task.record;
  uint32_t attempt = 0;
  if (end == LeaseEnd::kError || end == LeaseEnd::kLost) {
    uint32_t lost = record.lost_attempts() + (end == LeaseEnd::kLost);
    uint32_t errors = record.error_attempts() + (end == LeaseEnd::kError);
    record.set_lost_attempts(lost);
    record.set_error_attempts(errors);
    record.set_last_error(error);
    record.set_last_worker(lease.worker);
    task.failed_at = now_;
    // The first loss says nothing about the task: no wait.
    attempt = end == LeaseEnd::kError ? errors : lost - 1;
    run.last_error = absl::StrCat(lease.task.ToString(), ": ", error);
    Log(run.id(), lease.task.round, lease.worker, run.last_error);
  }
  if (JudgeRetry(end, record.lost_attempts(), record.error_attempts(),
                 {options_.max_lost_attempts, options_.max_error_attempts}) == RetryVerdict::kFail) {
    SetTaskState(task, v1::TASK_STATE_FAILED);
    PutTask(task);
    EndRun(run, v1::RUN_STATE_FAILED,
           absl::StrCat(lease.task.ToString(), " failed ",
                        end == LeaseEnd::kError ? record.error_attempts() : record.lost_attempts(),
                        " times, last: ", error));
    return;
  }
  absl::Time not_before = attempt > 0 ? now_ + Backoff(attempt, BackoffSalt(lease.task)) : now_;
  record.set_not_before_us(attempt > 0 ? absl::ToUnixMicros(not_before) : 0);
  SetTaskState(task, v1::TASK_STATE_PENDING);
  PutTask(task);
  if (attempt > 0) wakeups_.emplace(not_before + absl::Microseconds(1), lease.task);
  if (task.failed_at == now_) wakeups_.emplace(now_ + kAvoidLastWorker, lease.task);
}

void Core::Impl::DropLeases(const TaskId& id) {
  Task& task = *FindTask(id);
  std::vector<uint64_t> tokens;
  for (const v1::TaskLease& member : task.record.gang()) tokens.push_back(member.token());
  if (task.record.token() != 0) tokens.push_back(task.record.token());
  for (uint64_t token : tokens) {
    RemoveLease(token);
    LeaveTraining(id, token,
                  absl::AbortedError(absl::StrCat("FENCED: ", id.ToString(), " is over or starts anew")));
  }
}

void Core::Impl::ExpireLeases() {
  if (now_ < leases_due_) return;
  leases_due_ = absl::InfiniteFuture();
  std::vector<uint64_t> expired;
  for (const auto& [token, lease] : leases_) {
    if (lease.deadline <= now_) expired.push_back(token);
    if (lease.deadline > now_) leases_due_ = std::min(leases_due_, lease.deadline);
  }
  for (uint64_t token : expired) {
    auto found = leases_.find(token);
    if (found == leases_.end()) continue;  // went with the run that the one before failed
    bool unknown = found->second.unknown;
    if (!unknown) ++statistics_.leases_expired;
    EndLease(token, unknown ? LeaseEnd::kForgotten : LeaseEnd::kLost,
             absl::StrCat("worker ", found->second.worker, " did not renew the lease"));
  }
}

Task* Core::Impl::FindTask(const TaskId& id) {
  auto run = runs_.find(id.run_id);
  if (run == runs_.end()) return nullptr;
  auto round = run->second.rounds.find(id.round);
  if (round == run->second.rounds.end()) return nullptr;
  auto task = round->second.tasks.find(id);
  return task == round->second.tasks.end() ? nullptr : &task->second;
}

void Core::Impl::SetTaskState(Task& task, v1::TaskState state) {
  TaskId id = TaskId::From(task.record.key());
  Run& run = runs_.at(id.run_id);
  Round& round = run.rounds.at(id.round);
  TaskGroup& group = round.groups.at({id.kind, id.purpose});
  auto count = [&group](v1::TaskState of) -> uint32_t* {
    if (of == v1::TASK_STATE_LEASED || of == v1::TASK_STATE_UNKNOWN) return &group.leased;
    if (of == v1::TASK_STATE_DONE) return &group.done;
    return of == v1::TASK_STATE_FAILED ? &group.failed : nullptr;
  };
  if (uint32_t* before = count(task.record.state())) --*before;
  if (uint32_t* after = count(state)) ++*after;
  task.record.set_state(state);
  group.ready.erase(id.index);
  auto kept = group.kept_for.find(task.preferred_worker);
  if (kept != group.kept_for.end() && kept->second.erase(id.index) > 0 && kept->second.empty()) {
    group.kept_for.erase(kept);
  }
  RefreshReady(run, round, task);
}

void Core::Impl::RefreshReady(Run& run, Round& round, Task& task) {
  TaskId id = TaskId::From(task.record.key());
  if (task.record.state() != v1::TASK_STATE_PENDING || task.record.not_before_us() > NowMicros() ||
      run.ended())
    return;
  if (id.kind == v1::TASK_KIND_SCORE) {
    const Task& pictures =
        round.tasks.at({id.run_id, id.round, v1::TASK_KIND_GENERATE, id.purpose, id.index});
    if (pictures.record.state() != v1::TASK_STATE_DONE) return;
  }
  TaskGroup& group = round.groups.at({id.kind, id.purpose});
  const bool pictures_held = IsActive(task.preferred_worker);
  if (pictures_held) {
    group.kept_for[task.preferred_worker].insert(id.index);
    work_for_.insert(task.preferred_worker);
    if (now_ < task.preferred_until) return;  // WakeTasks comes back to it
  }
  group.ready.insert(id.index);
  work_for_everybody_ = true;
}

bool Core::Impl::IsActive(const std::string& worker) const {
  if (worker.empty()) return false;
  auto found = workers_.find(worker);
  return found != workers_.end() && found->second.record.state() == v1::WORKER_STATE_ACTIVE;
}

void Core::Impl::WakeTasks() {
  while (!wakeups_.empty() && wakeups_.begin()->first <= now_) {
    TaskId id = wakeups_.begin()->second;
    wakeups_.erase(wakeups_.begin());
    Task* task = FindTask(id);
    if (task == nullptr || task->record.state() != v1::TASK_STATE_PENDING) continue;
    Run& run = runs_.at(id.run_id);
    RefreshReady(run, run.rounds.at(id.round), *task);
    work_for_everybody_ = true;
  }
}

}  // namespace rsidiff::coordinator
