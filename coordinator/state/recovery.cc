#include <algorithm>
#include <tuple>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "common/base/status_macros.h"
#include "coordinator/schedule/evaluation.h"
#include "coordinator/state/core_impl.h"
#include "coordinator/state/judgement_block.h"

namespace rsidiff::coordinator {
namespace {

absl::Status BadRow(const Row& row, absl::string_view what) {
  return absl::DataLossError(
      absl::StrCat("table ", TableName(row.table), ", key ", absl::BytesToHexString(row.key), ": ", what));
}

absl::Status Parse(const Row& row, google::protobuf::MessageLite& message) {
  if (message.ParseFromString(row.value)) return absl::OkStatus();
  return BadRow(row, absl::StrCat("value is not a ", message.GetTypeName()));
}

// A count is only believed when so many prompts are there: a damaged one may be any number.
absl::Status CheckPromptCounts(const Run& run) {
  auto check = [&run](size_t stored, uint32_t count, absl::string_view kind) {
    if (stored == count) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat("table prompts has ", stored, " of the ", count, " ", kind,
                                            " prompts of run ", run.record.id()));
  };
  RSIDIFF_RETURN_IF_ERROR(check(run.train_prompts.size(), run.record.train_prompt_count(), "training"));
  return check(run.evaluation_prompts.size(), run.record.evaluation_prompt_count(), "evaluation");
}

}  // namespace

absl::StatusOr<StepResult> Core::Impl::Recover(std::vector<Row> rows, absl::Time now) {
  now_ = heard_since_ = now;
  // Parents before children, as the tables are declared; prompts in their order.
  std::sort(rows.begin(), rows.end(),
            [](const Row& a, const Row& b) { return std::tie(a.table, a.key) < std::tie(b.table, b.key); });
  for (const Row& row : rows) RSIDIFF_RETURN_IF_ERROR(LoadRow(row));
  for (const auto& [id, run] : runs_) {
    if (!run.ended()) RSIDIFF_RETURN_IF_ERROR(CheckPromptCounts(run));
  }
  if (meta_.schema_version() > kSchemaVersion) {
    return absl::FailedPreconditionError(absl::StrCat("database has schema version ", meta_.schema_version(),
                                                      "; this program reads up to ", kSchemaVersion));
  }
  if (meta_.schema_version() == 0) {
    if (!rows.empty()) return absl::DataLossError("table meta has no row, but others have");
    meta_.set_cluster_id(options_.cluster_id);
    meta_.set_next_run_id(1);
    meta_.set_next_incarnation(1);
    meta_.set_next_generation(1);
    meta_.set_next_event(1);
  }
  meta_.set_schema_version(kSchemaVersion);
  meta_.set_epoch(meta_.epoch() + 1);
  Put(Table::kMeta, std::string(kMetaKey), meta_);
  Log(0, 0, "", absl::StrCat("coordinator started, epoch ", meta_.epoch()));
  for (auto& [name, worker] : workers_) {
    // Only a clock that was set back puts the deadline further away than it ever was.
    int64_t latest = NowMicros() + worker.record.drain_allowed_us();
    if (worker.record.drain_allowed_us() > 0 && worker.record.drain_deadline_us() > latest) {
      worker.record.set_drain_deadline_us(latest);
      PutWorker(worker);
    }
    if (worker.alive()) {
      worker.seen = now + options_.RecoveryGrace() - options_.lease_ttl;
    } else {
      // Whatever was done to the clock, nobody is forgotten at once or remembered for ever.
      worker.seen = std::clamp(absl::FromUnixMicros(worker.record.seen_us()),
                               now - options_.keep_gone_workers + absl::Hours(1), now);
    }
    workers_due_ = std::min(workers_due_, DueTime(worker));
  }
  for (auto& [id, run] : runs_) RestoreRun(run);
  for (auto& [name, worker] : workers_) FinishDrain(worker);
  requests_.Renew(now);
  sync_ = true;
  return TakeResult();
}

absl::Status Core::Impl::LoadRow(const Row& row) {
  switch (row.table) {
    case Table::kMeta:
      if (row.key != kMetaKey) return BadRow(row, "unknown key");
      return Parse(row, meta_);
    case Table::kRuns: {
      v1::RunRecord record;
      RSIDIFF_RETURN_IF_ERROR(Parse(row, record));
      if (row.key != RunKey(record.id())) return BadRow(row, "key and value name different runs");
      runs_[record.id()].record = std::move(record);
      return absl::OkStatus();
    }
    case Table::kRounds: {
      v1::RoundRecord record;
      RSIDIFF_RETURN_IF_ERROR(Parse(row, record));
      auto run = runs_.find(record.run_id());
      if (row.key != RoundKey(record.run_id(), record.round())) return BadRow(row, "key and value differ");
      if (run == runs_.end()) return BadRow(row, "its run is missing");
      run->second.rounds[record.round()].record = std::move(record);
      return absl::OkStatus();
    }
    case Table::kTasks:
      return LoadTask(row);
    case Table::kJudgements:
      return LoadJudgements(row);
    case Table::kSamples:
      return LoadSample(row);
    case Table::kPrompts:
      return LoadPrompt(row);
    case Table::kWorkers: {
      v1::WorkerRecord record;
      RSIDIFF_RETURN_IF_ERROR(Parse(row, record));
      if (row.key != record.name()) return BadRow(row, "key and value name different workers");
      ++worker_counts_[record.state()];
      workers_[row.key].record = std::move(record);
      return absl::OkStatus();
    }
    case Table::kGenerations: {
      v1::GenerationRecord record;
      RSIDIFF_RETURN_IF_ERROR(Parse(row, record));
      RSIDIFF_ASSIGN_OR_RETURN(Round * round, LoadedRound(row, record.run_id(), record.round()));
      round->training.generations.push_back(std::move(record));
      return absl::OkStatus();
    }
    case Table::kRequests: {
      v1::RequestRecord record;
      RSIDIFF_RETURN_IF_ERROR(Parse(row, record));
      requests_.Add(row.key, record, absl::FromUnixMicros(record.time_us()));
      return absl::OkStatus();
    }
    case Table::kEvents:
      return absl::OkStatus();
  }
  return BadRow(row, "unknown table");
}

absl::StatusOr<Round*> Core::Impl::LoadedRound(const Row& row, uint64_t run_id, uint32_t number) {
  auto run = runs_.find(run_id);
  if (run == runs_.end()) return BadRow(row, "its run is missing");
  auto round = run->second.rounds.find(number);
  if (round == run->second.rounds.end()) return BadRow(row, "its round is missing");
  return &round->second;
}

absl::Status Core::Impl::LoadTask(const Row& row) {
  Task task;
  RSIDIFF_RETURN_IF_ERROR(Parse(row, task.record));
  TaskId id = TaskId::From(task.record.key());
  if (row.key != TaskRowKey(id)) return BadRow(row, "key and value name different tasks");
  RSIDIFF_ASSIGN_OR_RETURN(Round * round, LoadedRound(row, id.run_id, id.round));
  IndexTask(runs_.at(id.run_id), *round, std::move(task));
  return absl::OkStatus();
}

absl::Status Core::Impl::LoadJudgements(const Row& row) {
  KeyReader key(row.key);
  const uint64_t run_id = key.Take(8);
  const auto number = static_cast<uint32_t>(key.Take(4));
  const uint64_t block = key.Take(4);
  if (!key.Complete()) return BadRow(row, "key has a wrong length");
  RSIDIFF_ASSIGN_OR_RETURN(Round * round, LoadedRound(row, run_id, number));
  const v1::RunRecord& run = runs_.at(run_id).record;
  if (NeededSamples(run, round->record.phase(), v1::PURPOSE_TRAINING) == SamplesNeeded::kNone) {
    return absl::OkStatus();
  }
  const absl::StatusOr<std::vector<Judgement>> judgements = ParseBlock(row.value);
  if (!judgements.ok()) return BadRow(row, judgements.status().message());
  if (block * kJudgementBlock != round->judgements.size()) {
    return BadRow(row, "a row before it is missing or has too few samples");
  }
  for (const Judgement& judgement : *judgements) {
    if (judgement.selected) round->selected.push_back(static_cast<uint32_t>(round->judgements.size()));
    round->judgements.push_back(judgement);
  }
  return absl::OkStatus();
}

absl::Status Core::Impl::LoadSample(const Row& row) {
  KeyReader key(row.key);
  uint64_t run_id = key.Take(8);
  uint32_t number = static_cast<uint32_t>(key.Take(4));
  auto purpose = static_cast<v1::Purpose>(key.Take(1));
  uint32_t index = static_cast<uint32_t>(key.Take(4));
  if (!key.Complete()) return BadRow(row, "key has a wrong length");
  RSIDIFF_ASSIGN_OR_RETURN(Round * round, LoadedRound(row, run_id, number));
  SamplesNeeded needed = NeededSamples(runs_.at(run_id).record, round->record.phase(), purpose);
  if (needed == SamplesNeeded::kNone) return absl::OkStatus();
  if (needed == SamplesNeeded::kSelected && !round->IsSelected(index)) return absl::OkStatus();
  v1::SampleRecord sample;
  RSIDIFF_RETURN_IF_ERROR(Parse(row, sample));
  if (sample.index() != index) return BadRow(row, "key and value name different samples");
  round->samples[purpose][index] = std::move(sample);
  return absl::OkStatus();
}

absl::Status Core::Impl::LoadPrompt(const Row& row) {
  KeyReader key(row.key);
  auto run = runs_.find(key.Take(8));
  auto list = static_cast<PromptList>(key.Take(1));
  uint32_t index = static_cast<uint32_t>(key.Take(4));
  if (!key.Complete()) return BadRow(row, "key has a wrong length");
  if (run == runs_.end()) return BadRow(row, "its run is missing");
  if (run->second.ended()) return absl::OkStatus();
  v1::PromptRecord prompt;
  RSIDIFF_RETURN_IF_ERROR(Parse(row, prompt));
  const bool train = list == PromptList::kTrain;
  auto& prompts = train ? run->second.train_prompts : run->second.evaluation_prompts;
  const v1::RunRecord& record = run->second.record;
  if (index >= (train ? record.train_prompt_count() : record.evaluation_prompt_count())) {
    return BadRow(row, "index is beyond the run's prompts");
  }
  if (index != prompts.size()) return BadRow(row, absl::StrCat("prompt ", prompts.size(), " is missing"));
  prompts.push_back(prompt.text());
  if (train) run->second.rejected.push_back(prompt.rejected());
  return absl::OkStatus();
}

absl::Status Core::Impl::RecallInputs(Run& run, const std::vector<Row>& rows) {
  const v1::RunState state = run.record.state();
  run.record.set_state(v1::RUN_STATE_ACTIVE);  // the rows that a run under way needs
  absl::Status loaded;
  for (const Row& row : rows) {
    if (row.table == Table::kPrompts) loaded.Update(LoadPrompt(row));
    if (row.table == Table::kJudgements) loaded.Update(LoadJudgements(row));
    if (row.table == Table::kSamples) loaded.Update(LoadSample(row));
  }
  run.record.set_state(state);
  if (loaded.ok()) loaded = CheckPromptCounts(run);
  if (!loaded.ok()) ForgetInputs(run);
  return loaded;
}

void Core::Impl::ForgetInputs(Run& run) {
  std::vector<std::string>().swap(run.train_prompts);
  std::vector<bool>().swap(run.rejected);
  std::vector<uint32_t>().swap(run.order);
  std::vector<std::string>().swap(run.evaluation_prompts);
  for (auto& [number, round] : run.rounds) {
    for (auto& [purpose, samples] : round.samples) discarded_.push_back(std::move(samples));
    round.samples.clear();
    std::vector<Judgement>().swap(round.judgements);
    round.selected.clear();
    round.plan.clear();
  }
}

void Core::Impl::RestoreRun(Run& run) {
  if (!run.ended()) open_runs_.insert(run.id());
  for (auto& [number, round] : run.rounds) {
    // Earlier versions stored no 0, and the first of them none at all: without roll-backs it is the round
    // before.
    if (number > 0 && !round.record.has_starts_from()) {
      round.record.set_starts_from(WaitsForEvaluation(run.record.spec()) ? 0 : number - 1);
      PutRound(round);
    }
    RestorePlan(run, round);
    for (auto& [id, task] : round.tasks) {
      RestoreLeases(task);
      RefreshReady(run, round, task);
      // Only a clock that was set back makes it longer than any back-off.
      int64_t latest = absl::ToUnixMicros(now_ + kMaxBackoff);
      if (task.record.state() == v1::TASK_STATE_PENDING && task.record.not_before_us() > latest) {
        task.record.set_not_before_us(latest);
        PutTask(task);
      }
      if (task.record.not_before_us() > NowMicros()) {
        wakeups_.emplace(absl::FromUnixMicros(task.record.not_before_us()), id);
      }
    }
    if (Reducible(run, round)) reducing_.insert({run.id(), number});
  }
  JudgeRun(run);
  // Earlier versions left the last round's.
  if (run.ended()) {
    for (auto& [number, round] : run.rounds) ForgetTasks(round);
  }
}

void Core::Impl::RestoreLeases(Task& task) {
  TaskId id = TaskId::From(task.record.key());
  auto add = [&](uint64_t token, const std::string& worker, uint64_t incarnation) {
    Lease lease;
    lease.token = token;
    lease.task = id;
    lease.worker = worker;
    lease.incarnation = incarnation;
    lease.deadline = now_ + options_.RecoveryGrace();
    lease.unknown = true;
    leases_due_ = std::min(leases_due_, lease.deadline);
    leases_[token] = lease;
    ++runs_.at(id.run_id).leased;
    workers_[worker].tokens.insert(token);
  };
  for (v1::TaskLease& member : *task.record.mutable_gang()) {
    member.set_unknown(true);
    add(member.token(), member.worker(), member.incarnation());
  }
  if (task.record.token() != 0) add(task.record.token(), task.record.worker(), task.record.incarnation());
  if (task.record.gang().empty() && task.record.token() == 0) return;
  SetTaskState(task, v1::TASK_STATE_UNKNOWN);
  PutTask(task);
}

v1::PromptRecord PromptRow(const Run& run, PromptList list, uint32_t index) {
  const bool train = list == PromptList::kTrain;
  v1::PromptRecord prompt;
  prompt.set_text(train ? run.train_prompts.at(index) : run.evaluation_prompts.at(index));
  prompt.set_rejected(train && run.rejected.at(index));
  return prompt;
}

std::vector<Row> Core::Impl::Dump() const {
  std::vector<Row> rows;
  auto add = [&rows](Table table, std::string key, const google::protobuf::MessageLite& message) {
    rows.push_back({table, std::move(key), DeterministicBytes(message)});
  };
  add(Table::kMeta, std::string(kMetaKey), meta_);
  for (const auto& [id, run] : runs_) {
    add(Table::kRuns, RunKey(id), run.record);
    for (auto list : {PromptList::kTrain, PromptList::kEvaluation}) {
      const auto& prompts = list == PromptList::kTrain ? run.train_prompts : run.evaluation_prompts;
      for (uint32_t i = 0; i < prompts.size(); ++i) {
        add(Table::kPrompts, PromptKey(id, list, i), PromptRow(run, list, i));
      }
    }
    for (const auto& [number, round] : run.rounds) {
      add(Table::kRounds, RoundKey(id, number), round.record);
      for (const auto& [task_id, task] : round.tasks) add(Table::kTasks, TaskRowKey(task_id), task.record);
      for (const auto& [purpose, samples] : round.samples) {
        const bool all = NeededSamples(run.record, round.record.phase(), purpose) == SamplesNeeded::kAll;
        for (const auto& [index, sample] : samples) {
          if (all || round.IsSelected(index))
            add(Table::kSamples, SampleKey(id, number, purpose, index), sample);
        }
      }
      for (uint32_t block = 0; size_t{block} * kJudgementBlock < round.judgements.size(); ++block) {
        add(Table::kJudgements, JudgementKey(id, number, block), ToBlock(BlockOf(round.judgements, block)));
      }
      for (const v1::GenerationRecord& generation : round.training.generations) {
        add(Table::kGenerations, GenerationKey(id, number, generation.generation()), generation);
      }
    }
  }
  for (const auto& [name, worker] : workers_) add(Table::kWorkers, name, worker.record);
  for (const auto& [id, answer] : requests_.answers()) rows.push_back({Table::kRequests, id, answer.record});
  std::sort(rows.begin(), rows.end(),
            [](const Row& a, const Row& b) { return std::tie(a.table, a.key) < std::tie(b.table, b.key); });
  return rows;
}

}  // namespace rsidiff::coordinator
