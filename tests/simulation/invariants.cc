#include "tests/simulation/invariants.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "rsidiff/v1/round.pb.h"

namespace rsidiff::simulation {
namespace {

using coordinator::StepResult;
using coordinator::Table;
using coordinator::TaskId;

template <class Message>
Message Parsed(const std::string& bytes) {
  Message message;
  message.ParseFromString(bytes);
  return message;
}

/// A task's tokens, all members' of a gang.
std::vector<uint64_t> Tokens(const v1::TaskRecord& task) {
  std::vector<uint64_t> tokens;
  if (task.token() != 0) tokens.push_back(task.token());
  for (const v1::TaskLease& lease : task.gang()) tokens.push_back(lease.token());
  return tokens;
}

/// The value of a row once the step is written; empty when there is none.
std::string After(const Disk& before, const StepResult& step, Table table, const std::string& key) {
  for (const auto& row : step.rows) {
    if (row.table == table && row.key == key) return row.value.value_or("");
  }
  auto found = before.find({table, key});
  return found == before.end() ? "" : found->second;
}

bool TerminalPhase(v1::RoundPhase phase) {
  return phase == v1::ROUND_PHASE_FAILED || phase == v1::ROUND_PHASE_ABANDONED;
}

/// The purpose of the tasks that have to be done before a round leaves `phase`.
v1::Purpose PurposeOf(v1::RoundPhase phase) {
  return phase == v1::ROUND_PHASE_EVALUATE ? v1::PURPOSE_EVALUATION : v1::PURPOSE_TRAINING;
}

}  // namespace

void Invariants::Fail(std::string violation) {
  if (violation_.empty()) violation_ = std::move(violation);
}

void Invariants::Check(const Disk& before, const StepResult& step) {
  greatest_token_before_ = greatest_token_;  // rows are in key order, not in the order of the grants
  for (const auto& row : step.rows) {
    if (!row.value.has_value()) continue;
    if (row.table == Table::kTasks) CheckTask(before, row.key, *row.value);
    if (row.table == Table::kRounds) CheckRound(before, step, row.key, *row.value);
    if (row.table == Table::kGenerations) CheckGeneration(before, step, row.key, *row.value);
    if (row.table == Table::kWorkers) CheckWorker(before, row.key, *row.value);
    if (row.table == Table::kMeta) CheckMeta(before, row.key, *row.value);
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

void Invariants::CheckTask(const Disk& before, const std::string& key, const std::string& value) {
  auto task = Parsed<v1::TaskRecord>(value);
  TaskId id = TaskId::From(task.key());
  std::vector<uint64_t> tokens = Tokens(task);
  bool held = task.state() == v1::TASK_STATE_LEASED || task.state() == v1::TASK_STATE_UNKNOWN;
  if (held == tokens.empty())
    Fail(absl::StrCat("I1: ", id.ToString(), " in state ", task.state(), " has ", tokens.size(), " tokens"));
  if (id.kind != v1::TASK_KIND_TRAIN && tokens.size() > 1) Fail("I1: two tokens for " + id.ToString());
  for (uint64_t token : tokens) NewToken(id, token);
  auto old = before.find({Table::kTasks, key});
  if (old == before.end()) return;
  auto was = Parsed<v1::TaskRecord>(old->second);
  if (was.state() == v1::TASK_STATE_DONE && old->second != value) Fail("I2: DONE changed: " + id.ToString());
}

void Invariants::CheckRound(const Disk& before, const StepResult& step, const std::string& key,
                            const std::string& value) {
  auto round = Parsed<v1::RoundRecord>(value);
  auto old = before.find({Table::kRounds, key});
  if (old == before.end()) return;
  auto was = Parsed<v1::RoundRecord>(old->second);
  if (was.phase() == round.phase()) return;
  if (round.phase() < was.phase())
    Fail(absl::StrCat("I4: phase went from ", was.phase(), " to ", round.phase()));
  if (TerminalPhase(round.phase())) return;
  for (auto row = before.lower_bound({Table::kTasks, key});
       row != before.end() && row->first.first == Table::kTasks &&
       row->first.second.compare(0, key.size(), key) == 0;
       ++row) {
    std::string after = After(before, step, Table::kTasks, row->first.second);
    if (after.empty()) continue;
    auto task = Parsed<v1::TaskRecord>(after);
    if (task.key().purpose() == PurposeOf(was.phase()) && task.state() != v1::TASK_STATE_DONE) {
      Fail(absl::StrCat("I4: phase ", was.phase(), " left before ", TaskId::From(task.key()).ToString()));
    }
  }
}

void Invariants::CheckGeneration(const Disk& before, const StepResult& step, const std::string& key,
                                 const std::string& value) {
  auto generation = Parsed<v1::GenerationRecord>(value);
  auto old = before.find({Table::kGenerations, key});
  if (old != before.end()) {
    auto was = Parsed<v1::GenerationRecord>(old->second);
    if (generation.checkpoint_step() <= was.checkpoint_step()) Fail("I3: checkpoint step went back");
    return;
  }
  if (generation.generation() <= greatest_generation_) Fail("I3: generation went back");
  greatest_generation_ = generation.generation();
  TaskId train{generation.run_id(), generation.round(), v1::TASK_KIND_TRAIN, v1::PURPOSE_TRAINING, 0};
  auto task = Parsed<v1::TaskRecord>(After(before, step, Table::kTasks, coordinator::TaskRowKey(train)));
  std::vector<uint64_t> tokens = Tokens(task);
  if (generation.members().empty()) Fail("I8: a generation of nobody");
  std::set<std::string> workers;
  for (const auto& member : generation.members()) {
    if (std::count(tokens.begin(), tokens.end(), member.token()) != 1) {
      Fail(absl::StrCat("I8: ", member.worker(), " has no lease in generation ", generation.generation()));
    }
    if (!workers.insert(member.worker()).second) Fail("I8: a worker is in a generation twice");
  }
  if (!step.sync) Fail("I5: a generation was announced without a sync");
}

void Invariants::CheckWorker(const Disk& before, const std::string& key, const std::string& value) {
  auto worker = Parsed<v1::WorkerRecord>(value);
  uint64_t& greatest = incarnations_[worker.name()];
  if (worker.incarnation() < greatest) Fail("I3: incarnation went back: " + worker.name());
  greatest = worker.incarnation();
}

void Invariants::CheckMeta(const Disk& before, const std::string& key, const std::string& value) {
  auto meta = Parsed<v1::MetaRecord>(value);
  if (meta.epoch() < greatest_epoch_) Fail("I3: epoch went back");
  greatest_epoch_ = meta.epoch();
}

void Invariants::Acknowledged(const Disk& disk, const TaskId& task) {
  auto row = disk.find({Table::kTasks, coordinator::TaskRowKey(task)});
  if (row == disk.end()) return;  // the round is long over and its tasks are forgotten
  auto record = Parsed<v1::TaskRecord>(row->second);
  if (record.state() != v1::TASK_STATE_DONE) Fail("I5: acknowledged but not DONE: " + task.ToString());
  acknowledged_[task] = record.result_digest();
}

void Invariants::CheckAcknowledged(const Disk& disk) {
  for (const auto& [task, digest] : acknowledged_) {
    auto row = disk.find({Table::kTasks, coordinator::TaskRowKey(task)});
    if (row == disk.end()) {
      // Only a finished round's tasks may be forgotten.
      auto round = disk.find({Table::kRounds, coordinator::RoundKey(task.run_id, task.round)});
      if (round == disk.end() || Parsed<v1::RoundRecord>(round->second).phase() < v1::ROUND_PHASE_DONE) {
        Fail("I5: an acknowledged task is gone: " + task.ToString());
      }
      continue;
    }
    if (Parsed<v1::TaskRecord>(row->second).result_digest() != digest) Fail("I5: lost: " + task.ToString());
  }
}

}  // namespace rsidiff::simulation
