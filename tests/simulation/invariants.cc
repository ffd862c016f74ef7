#include "tests/simulation/invariants.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "coordinator/schedule/task_graph.h"
#include "rsidiff/v1/round.pb.h"

namespace rsidiff::simulation {
namespace {

using coordinator::Request;
using coordinator::Response;
using coordinator::StepResult;
using coordinator::Table;
using coordinator::TaskId;

template <class Message>
Message Parsed(const std::string& bytes) {
  Message message;
  message.ParseFromString(bytes);
  return message;
}

bool Ended(v1::RoundPhase phase) {
  return coordinator::PhaseOrder(phase) >= coordinator::PhaseOrder(v1::ROUND_PHASE_DONE);
}

/// The purpose of the tasks that have to be done before a round leaves `phase`.
v1::Purpose PurposeOf(v1::RoundPhase phase) {
  return phase == v1::ROUND_PHASE_EVALUATE ? v1::PURPOSE_EVALUATION : v1::PURPOSE_TRAINING;
}

}  // namespace

void Invariants::Fail(std::string violation) {
  if (violation_.empty()) violation_ = std::move(violation);
}

void Invariants::Reload(const Disk& disk) {
  tasks_.clear();
  held_.clear();
  runs_.clear();
  rounds_.clear();
  workers_.clear();
  generations_.clear();
  completed_.clear();
  greatest_generation_ = 0;
  completions_ = 0;
  loading_ = true;
  for (const auto& [where, value] : disk) ApplyRow(where.first, where.second, value);
  loading_ = false;
  new_tasks_.clear();
}

void Invariants::CheckStep(const StepResult& step) {
  greatest_token_before_ = greatest_token_;  // rows are in key order, not in the order of the grants
  std::map<RoundId, v1::RoundPhase> phases;
  for (const auto& row : step.rows) {
    if (row.table == Table::kRounds && row.value.has_value()) {
      auto round = Parsed<v1::RoundRecord>(*row.value);
      RoundId id{round.run_id(), round.round()};
      phases[id] = rounds_[id].phase;
    }
  }
  for (const auto& row : step.rows) {
    if (row.value.has_value()) {
      ApplyRow(row.table, row.key, *row.value);
    } else if (row.table == Table::kTasks) {
      ForgetTask(row.key);
    } else if (row.table == Table::kWorkers) {
      workers_.erase(row.key);
    } else if (row.table == Table::kRequests) {
      completed_.erase(row.key);
    }
    if (row.table == Table::kGenerations && !step.sync) Fail("I5: a generation was announced without a sync");
  }
  CheckPhases(phases);
  CheckHolders();
  new_tasks_.clear();
}

void Invariants::ApplyRow(Table table, const std::string& key, const std::string& value) {
  switch (table) {
    case Table::kMeta: {
      auto meta = Parsed<v1::MetaRecord>(value);
      if (meta.epoch() < greatest_epoch_) Fail("I3: epoch went back");
      greatest_epoch_ = meta.epoch();
      break;
    }
    case Table::kRuns: {
      auto record = Parsed<v1::RunRecord>(value);
      Run& run = runs_[record.id()];
      if (run.ended() && record.state() != run.state)
        Fail(absl::StrCat("I2: run ", record.id(), " rose again"));
      run = {record.state(), record.spec().workers().train_max(), record.reason()};
      break;
    }
    case Table::kRounds: {
      auto record = Parsed<v1::RoundRecord>(value);
      rounds_[{record.run_id(), record.round()}].phase = record.phase();
      break;
    }
    case Table::kTasks:
      return ApplyTask(value);
    case Table::kWorkers: {
      auto record = Parsed<v1::WorkerRecord>(value);
      Worker& worker = workers_[record.name()];
      if (record.incarnation() < worker.incarnation) Fail("I3: incarnation went back: " + record.name());
      worker = {record.incarnation(),
                record.state() == v1::WORKER_STATE_ACTIVE || record.state() == v1::WORKER_STATE_DRAINING};
      break;
    }
    case Table::kGenerations:
      return ApplyGeneration(Parsed<v1::GenerationRecord>(value));
    case Table::kRequests:
      if (Parsed<v1::RequestRecord>(value).method() == "CompleteRequest") completed_.insert(key);
      break;
    default:
      break;
  }
}

void Invariants::NewToken(const TaskId& task, uint64_t token) {
  auto [entry, fresh] = tokens_.emplace(token, task);
  if (!fresh) {
    if (entry->second != task) Fail(absl::StrCat("I1: token ", token, " is of two tasks"));
    return;
  }
  if (token <= greatest_token_before_)
    Fail(absl::StrCat("I3: token ", token, " after ", greatest_token_before_));
  greatest_token_ = std::max(greatest_token_, token);
}

void Invariants::ApplyTask(const std::string& value) {
  auto record = Parsed<v1::TaskRecord>(value);
  TaskId id = TaskId::From(record.key());
  auto known = tasks_.find(id);
  Task task;
  task.state = record.state();
  task.row = value;
  if (record.token() != 0) task.holders.push_back({record.token(), record.worker(), record.incarnation()});
  for (const v1::TaskLease& member : record.gang()) {
    task.holders.push_back({member.token(), member.worker(), member.incarnation()});
  }
  for (const Holder& holder : task.holders) NewToken(id, holder.token);
  if (!loading_) CheckNewTask(id, record, known == tasks_.end() ? nullptr : &known->second, value);

  Round& round = rounds_[{id.run_id, id.round}];
  if (id.kind == v1::TASK_KIND_MEASURE) round.measuring = true;
  bool done = task.state == v1::TASK_STATE_DONE;
  if (known == tasks_.end()) {
    // Counted once the phases of this step are judged: a phase may add tasks of its own purpose.
    loading_ ? void(round.unfinished[id.purpose] += !done) : new_tasks_.push_back(id);
    tasks_[id] = std::move(task);
  } else {
    bool was_done = known->second.state == v1::TASK_STATE_DONE;
    if (done && !was_done) {
      --round.unfinished[id.purpose];
      ++completions_;
    }
    for (const Holder& holder : known->second.holders) held_.erase(holder.token);
    known->second = std::move(task);
  }
  for (const Holder& holder : tasks_[id].holders) held_[holder.token] = {id, holder};
}

void Invariants::CheckNewTask(const TaskId& id, const v1::TaskRecord& record, const Task* before,
                              const std::string& value) {
  bool is_held = record.token() != 0 || record.gang_size() > 0;
  bool may_be_held = record.state() == v1::TASK_STATE_LEASED || record.state() == v1::TASK_STATE_UNKNOWN;
  if (is_held != may_be_held)
    Fail(
        absl::StrCat("I1: ", id.ToString(), " is ", is_held ? "" : "not ", "held in state ", record.state()));
  if (record.token() != 0 && record.gang_size() > 0) Fail("I1: two tokens for " + id.ToString());
  if (before != nullptr && before->state == v1::TASK_STATE_DONE && before->row != value)
    Fail("I2: DONE changed: " + id.ToString());
  const Run& run = runs_[id.run_id];
  if (run.train_max > 0 && record.gang_size() > static_cast<int>(run.train_max))
    Fail(absl::StrCat("I7: ", record.gang_size(), " workers train in ", id.ToString()));
  bool spent = static_cast<int>(record.lost_attempts()) >= max_lost_ ||
               static_cast<int>(record.error_attempts()) >= max_errors_;
  if (static_cast<int>(record.lost_attempts()) > max_lost_ ||
      static_cast<int>(record.error_attempts()) > max_errors_)
    Fail("I7: more attempts than allowed for " + id.ToString());
  if ((record.state() == v1::TASK_STATE_FAILED) !=
      (spent && !may_be_held && record.state() != v1::TASK_STATE_DONE))
    Fail(absl::StrCat("I7: ", id.ToString(), " is in state ", record.state(), " after ",
                      record.lost_attempts(), " losses and ", record.error_attempts(), " errors"));
  if (record.state() == v1::TASK_STATE_FAILED && run.state != v1::RUN_STATE_FAILED)
    Fail("I4: the run goes on without " + id.ToString());
}

void Invariants::ForgetTask(const std::string& key) {
  for (auto task = tasks_.begin(); task != tasks_.end(); ++task) {
    if (coordinator::TaskRowKey(task->first) != key) continue;
    const TaskId& id = task->first;
    Round& round = rounds_[{id.run_id, id.round}];
    if (!Ended(round.phase)) Fail("I2: a task of a round under way is gone: " + id.ToString());
    if (round.phase == v1::ROUND_PHASE_DONE && task->second.state != v1::TASK_STATE_DONE) {
      // Its completion ended the run, which forgets all tasks in the same write.
      if (id.kind != v1::TASK_KIND_MEASURE) Fail("I2: a finished round left undone: " + id.ToString());
      --round.unfinished[id.purpose];
      ++completions_;
    }
    for (const Holder& holder : task->second.holders) held_.erase(holder.token);
    tasks_.erase(task);
    return;
  }
}

void Invariants::ApplyGeneration(const v1::GenerationRecord& generation) {
  v1::GenerationRecord& current = generations_[{generation.run_id(), generation.round()}];
  if (loading_) {
    if (generation.generation() >= current.generation()) current = generation;
    greatest_generation_ = std::max(greatest_generation_, generation.generation());
    return;
  }
  if (generation.generation() == current.generation()) {
    if (generation.checkpoint_step() <= current.checkpoint_step()) Fail("I3: checkpoint step went back");
    current = generation;
    return;
  }
  if (generation.generation() <= greatest_generation_) Fail("I3: generation went back");
  if (generation.checkpoint_step() < current.checkpoint_step()) Fail("I3: a generation lost the checkpoint");
  greatest_generation_ = generation.generation();
  if (generation.members().empty()) Fail("I8: a generation of nobody");
  std::set<std::string> workers;
  for (const auto& member : generation.members()) {
    auto held = held_.find(member.token());
    // A task row of the same step was applied before: tables come in order.
    if (held == held_.end() || held->second.second.worker != member.worker())
      Fail(absl::StrCat("I8: ", member.worker(), " has no lease in generation ", generation.generation()));
    if (!workers.insert(member.worker()).second) Fail("I8: a worker is in a generation twice");
  }
  current = generation;
}

void Invariants::CheckPhases(const std::map<RoundId, v1::RoundPhase>& before) {
  for (const auto& [id, phase] : before) {
    Round& round = rounds_[id];
    if (phase == round.phase || phase == v1::ROUND_PHASE_UNSPECIFIED) continue;
    if (coordinator::PhaseOrder(round.phase) < coordinator::PhaseOrder(phase))
      Fail(absl::StrCat("I4: phase went from ", phase, " to ", round.phase));
    bool given_up = round.phase == v1::ROUND_PHASE_FAILED || round.phase == v1::ROUND_PHASE_ABANDONED;
    if (!given_up && round.unfinished[PurposeOf(phase)] > 0)
      Fail(absl::StrCat("I4: phase ", phase, " was left with tasks to do in round ", id.second));
  }
  for (const TaskId& id : new_tasks_) {
    rounds_[{id.run_id, id.round}].unfinished[id.purpose] += tasks_[id].state != v1::TASK_STATE_DONE;
  }
  for (auto& [id, round] : rounds_) {
    if (Ended(round.phase) || runs_[id.first].ended() || round.unfinished[PurposeOf(round.phase)] > 0)
      continue;
    bool waits_for_base = round.phase == v1::ROUND_PHASE_EVALUATE && !round.measuring &&
                          rounds_[{id.first, 0}].unfinished[v1::PURPOSE_EVALUATION] > 0;
    // The coordinator's own work, that no task stands for; a run that does not end would tell if it stopped.
    const TaskId filter{id.first, id.second, v1::TASK_KIND_FILTER, v1::PURPOSE_TRAINING, 0};
    bool reduces = round.phase == v1::ROUND_PHASE_SELECT || round.phase == v1::ROUND_PHASE_WEIGHT ||
                   (round.phase == v1::ROUND_PHASE_FILTER && tasks_.count(filter) > 0);
    if (!waits_for_base && !reduces)
      Fail(absl::StrCat("I4: nothing is left to do in phase ", round.phase, ", yet it goes on"));
  }
}

void Invariants::CheckHolders() {
  for (const auto& [token, held] : held_) {
    const auto& [task, holder] = held;
    auto worker = workers_.find(holder.worker);
    if (worker == workers_.end() || !worker->second.alive || worker->second.incarnation != holder.incarnation)
      Fail(absl::StrCat("I8: ", task.ToString(), " is held by ", holder.worker,
                        ", which is gone or replaced"));
    if (runs_[task.run_id].ended()) Fail("I1: held although its run has ended: " + task.ToString());
  }
}

bool Invariants::MayComplete(const v1::CompleteRequest& request) const {
  if (completed_.count(request.request_id()) > 0) return true;
  TaskId id = TaskId::From(request.task());
  auto task = tasks_.find(id);
  if (task != tasks_.end() && task->second.state == v1::TASK_STATE_DONE && request.has_result()) {
    return Parsed<v1::TaskRecord>(task->second.row).result_digest() ==
           Sha256Hex(coordinator::DeterministicBytes(request.result()));
  }
  auto held = held_.find(request.token());
  return held != held_.end() && held->second.first == id && held->second.second.worker == request.worker() &&
         held->second.second.incarnation == request.incarnation();
}

void Invariants::CheckAnswer(const Request& request, const absl::StatusOr<Response>& response,
                             bool may_complete) {
  auto valid = [this](uint64_t token, const std::string& worker, uint64_t incarnation) {
    auto held = held_.find(token);
    return held != held_.end() && held->second.second.worker == worker &&
           held->second.second.incarnation == incarnation;
  };
  if (const auto* complete = std::get_if<v1::CompleteRequest>(&request)) {
    if (response.ok() && !may_complete)
      Fail("I1: a stale completion was obeyed: " + TaskId::From(complete->task()).ToString());
    bool training = complete->task().kind() == v1::TASK_KIND_TRAIN;
    bool still_valid = valid(complete->token(), complete->worker(), complete->incarnation());
    if (absl::IsAborted(response.status()) && may_complete && still_valid && !training)
      Fail("I5: a valid completion was refused: " + TaskId::From(complete->task()).ToString());
    return;
  }
  if (!response.ok()) return;
  auto check_process = [this](const std::string& worker, uint64_t incarnation) {
    if (workers_[worker].incarnation != incarnation) Fail("I3: an older process was obeyed: " + worker);
  };
  if (const auto* beat = std::get_if<v1::HeartbeatRequest>(&request)) {
    const auto& answer = std::get<v1::HeartbeatResponse>(*response);
    check_process(beat->worker(), beat->incarnation());
    for (const v1::HeldLease& lease : beat->held()) {
      bool dropped =
          std::count(answer.dropped_tokens().begin(), answer.dropped_tokens().end(), lease.token()) > 0;
      if (dropped == valid(lease.token(), beat->worker(), beat->incarnation()))
        Fail(absl::StrCat("I1: a heartbeat was told the opposite about token ", lease.token()));
    }
  }
  if (const auto* lease = std::get_if<v1::LeaseRequest>(&request)) {
    const auto& answer = std::get<v1::LeaseResponse>(*response);
    if (answer.grants_size() > static_cast<int>(lease->max_tasks())) Fail("I7: more grants than asked for");
    for (const v1::Grant& grant : answer.grants()) {
      if (!valid(grant.token(), lease->worker(), lease->incarnation()))
        Fail(absl::StrCat("I1: token ", grant.token(), " was granted and is not valid"));
    }
  }
}

}  // namespace rsidiff::simulation
