#include "coordinator/state/check.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "coordinator/schedule/task_graph.h"
#include "coordinator/state/check_impl.h"
#include "coordinator/state/request_memory.h"
#include "rsidiff/v1/coordinator.pb.h"

namespace rsidiff::coordinator {
namespace {

constexpr size_t kShownViolations = 5;
constexpr size_t kMaxViolations = 10'000;

bool HasTextKey(Table table) {
  return table == Table::kMeta || table == Table::kWorkers || table == Table::kRequests;
}

std::string RunText(uint64_t run_id) {
  return absl::StrCat("run ", run_id);
}

bool Ended(const v1::RunRecord& run) {
  return run.state() == v1::RUN_STATE_SUCCEEDED || run.state() == v1::RUN_STATE_FAILED ||
         run.state() == v1::RUN_STATE_CANCELLED;
}

// A damaged checkpoint gives way to an earlier one, or to the start when all are damaged.
bool IsEarlierCheckpoint(const v1::GenerationRecord& generation, uint64_t step) {
  return step == 0 ||
         std::any_of(generation.earlier_checkpoints().begin(), generation.earlier_checkpoints().end(),
                     [step](const auto& checkpoint) { return checkpoint.step() == step; });
}

}  // namespace

std::string RoundText(uint64_t run_id, uint32_t round) {
  return absl::StrCat("round ", round, " of run ", run_id);
}

std::string ToString(const Violation& violation) {
  std::string key = HasTextKey(violation.table) ? absl::CHexEscape(violation.key.substr(0, 80))
                                                : absl::BytesToHexString(violation.key.substr(0, 80));
  return absl::StrCat("table ", TableName(violation.table), ", key ", key, ": ", violation.what);
}

absl::Status ToStatus(const CheckReport& report) {
  if (report.violations.empty()) return absl::OkStatus();
  std::string text;
  for (size_t i = 0; i < std::min(report.violations.size(), kShownViolations); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : "; ", ToString(report.violations[i]));
  }
  if (report.violations.size() > kShownViolations) {
    absl::StrAppend(&text, "; and ", report.violations.size() - kShownViolations, " more");
  }
  return absl::DataLossError(text);
}

CheckReport CheckRows(const std::vector<Row>& rows, CheckScope scope) {
  return DatabaseCheck(scope).Run(rows);
}

CheckReport DatabaseCheck::Run(const std::vector<Row>& rows) {
  for (const Row& row : rows) Read(row);
  CheckMeta(!rows.empty());
  // Schema 1 kept what a round found in the samples' own rows.
  const bool judged_in_blocks = !meta_.has_value() || meta_->schema_version() != 1;
  for (const auto& [id, run] : runs_) {
    CheckRun(run);
    CheckPrompts(run);
    CheckRejected(run);
  }
  for (const auto& [name, round] : rounds_) {
    auto run = runs_.find(name.first);
    if (run == runs_.end()) {
      Fault(Table::kRounds, RoundKey(name.first, name.second),
            absl::StrCat("there is no run ", name.first, " for its round ", name.second));
      continue;
    }
    CheckRound(run->second, round);
    CheckTasks(run->second, round);
    for (v1::Purpose purpose : {v1::PURPOSE_TRAINING, v1::PURPOSE_EVALUATION}) {
      CheckSamples(run->second, round, purpose);
    }
    if (judged_in_blocks) CheckJudgements(run->second, round);
  }
  for (const auto& [id, task] : tasks_) {
    if (rounds_.count({id.run_id, id.round}) == 0) Fault(id, "has no round");
  }
  for (const auto& [name, samples] : samples_) {
    const auto& [run_id, round, purpose] = name;
    if (rounds_.count({run_id, round}) > 0) continue;
    Fault(Table::kSamples, SampleKey(run_id, round, purpose, samples.begin()->first),
          absl::StrCat("there is no ", RoundText(run_id, round), " for its samples"));
  }
  for (const auto& [name, judgements] : judgements_) {
    if (rounds_.count(name) > 0) continue;
    Fault(Table::kJudgements, JudgementKey(name.first, name.second, 0),
          absl::StrCat("there is no ", RoundText(name.first, name.second), " for its judgements"));
  }
  for (const auto& [name, indices] : prompts_) {
    if (runs_.count(name.first) > 0) continue;
    Fault(Table::kPrompts, PromptKey(name.first, name.second, *indices.begin()),
          absl::StrCat("there is no run ", name.first, " for its prompts"));
  }
  CheckWorkers();
  CheckGenerations();
  CheckRequests();
  std::stable_sort(report_.violations.begin(), report_.violations.end(),
                   [](const Violation& a, const Violation& b) { return a.table < b.table; });
  return std::move(report_);
}

void DatabaseCheck::Fault(Table table, std::string key, std::string what) {
  // A damaged number may ask for millions of rows; nobody reads so many lines.
  if (report_.violations.size() < kMaxViolations) {
    report_.violations.push_back({table, std::move(key), std::move(what)});
  }
}

void DatabaseCheck::Use(const std::string& digest, ArtifactUse use) {
  if (!digest.empty()) report_.artifacts.try_emplace(digest, std::move(use));
}

bool DatabaseCheck::Inherited(const v1::RunRecord& run, const v1::RoundRecord& round) {
  return run.forked_from() != 0 && round.started_us() < run.submitted_us();
}

void DatabaseCheck::CheckMeta(bool any_rows) {
  std::string key(kMetaKey);
  if (!meta_.has_value()) {
    if (any_rows) Fault(Table::kMeta, key, "is missing, and other rows are there");
    return;
  }
  auto fault = [&](auto... what) { Fault(Table::kMeta, key, absl::StrCat(what...)); };
  if (meta_->schema_version() < 1 || meta_->schema_version() > kSchemaVersion) {
    fault("schema version is ", meta_->schema_version());
  }
  if (meta_->cluster_id().empty()) fault("cluster id is empty");
  if (meta_->epoch() < 1 || meta_->epoch() >= uint64_t{1} << 24) fault("epoch is ", meta_->epoch());
  if (!runs_.empty() && meta_->next_run_id() <= runs_.rbegin()->first) {
    fault("the next run would be ", meta_->next_run_id(), ", and there is run ", runs_.rbegin()->first);
  }
  if (meta_->next_event() <= newest_event_) {
    fault("the next event would be ", meta_->next_event(), ", and there is event ", newest_event_);
  }
}

void DatabaseCheck::CheckRun(const v1::RunRecord& run) {
  auto fault = [&](auto... what) {
    Fault(Table::kRuns, RunKey(run.id()), absl::StrCat(RunText(run.id()), " ", what...));
  };
  if (run.id() == 0) fault("has no id");
  if (run.state() < v1::RUN_STATE_ACTIVE || run.state() > v1::RUN_STATE_CANCELLED) {
    fault("is in no known state: ", run.state());
  }
  if (run.spec().scorers().empty()) fault("has no scorers");
  if (run.newest_round() > run.spec().rounds()) {
    fault("has planned round ", run.newest_round(), " of ", run.spec().rounds());
  }
  if (run.best_round() > run.newest_round()) fault("has a best round that was not planned");
  // The rounds that are there, not the numbers: a damaged one may be huge.
  auto first = rounds_.lower_bound({run.id(), 0});
  uint32_t expected = 0;
  for (auto round = first; round != rounds_.end() && round->first.first == run.id(); ++round, ++expected) {
    if (round->first.second == expected) continue;
    break;
  }
  if (expected <= run.newest_round()) {
    Fault(Table::kRounds, RoundKey(run.id(), expected),
          absl::StrCat(RoundText(run.id(), expected), " is missing"));
  }
  auto newest = rounds_.upper_bound({run.id(), run.newest_round()});
  if (newest != rounds_.end() && newest->first.first == run.id()) {
    Fault(Table::kRounds, RoundKey(run.id(), newest->first.second),
          absl::StrCat(RoundText(run.id(), newest->first.second), " was never planned"));
  }
  ArtifactUse use{ArtifactUse::Kind::kFolder, Table::kRuns, RunKey(run.id()), ""};
  auto folder = [&](const std::string& digest, const std::string& what) {
    use.owner = absl::StrCat(what, " of ", RunText(run.id()));
    Use(digest, use);
  };
  folder(run.inputs().model(), "model");
  for (const auto& [name, inputs] : run.inputs().scorers()) {
    folder(inputs.model(), absl::StrCat("scorer ", name));
    folder(inputs.tokenizer(), absl::StrCat("tokenizer of scorer ", name));
    folder(inputs.clip(), absl::StrCat("image encoder of scorer ", name));
  }
  use.kind = ArtifactUse::Kind::kFile;
  use.owner = absl::StrCat("reference of ", RunText(run.id()));
  Use(run.reference(), use);
  use.owner = absl::StrCat("filtered prompts of ", RunText(run.id()));
  Use(run.inputs().rejected_prompts(), use);
}

void DatabaseCheck::CheckPrompts(const v1::RunRecord& run) {
  if (scope_ == CheckScope::kRecovery && HasEnded(run)) return;
  for (PromptList list : {PromptList::kTrain, PromptList::kEvaluation}) {
    const std::set<uint32_t>& indices = prompts_[{run.id(), list}];
    uint32_t count = list == PromptList::kTrain ? run.train_prompt_count() : run.evaluation_prompt_count();
    uint32_t expected = 0;
    for (uint32_t index : indices) expected += index == expected;
    std::string what = list == PromptList::kTrain ? "training prompt " : "evaluation prompt ";
    if (expected < count) {
      Fault(Table::kPrompts, PromptKey(run.id(), list, expected),
            absl::StrCat(what, expected, " of ", RunText(run.id()), " is missing"));
    }
    if (!indices.empty() && *indices.rbegin() >= count) {
      Fault(Table::kPrompts, PromptKey(run.id(), list, *indices.rbegin()),
            absl::StrCat(what, *indices.rbegin(), " is beyond the ", count, " of ", RunText(run.id())));
    }
    if (indices.empty()) prompts_.erase({run.id(), list});
  }
}

void DatabaseCheck::CheckRejected(const v1::RunRecord& run) {
  const v1::EmbeddingFilterSummary& filter = run.embedding_filter();
  const size_t rejected = rejected_[run.id()].size();
  if (rejected != size_t{filter.specificity()} + filter.diversity()) {
    Fault(Table::kRuns, RunKey(run.id()),
          absl::StrCat(RunText(run.id()), " counts ", filter.specificity(), " and ", filter.diversity(),
                       " prompts rejected by their embeddings, and ", rejected, " are marked so"));
  }
  Use(filter.rejected_prompts(), {ArtifactUse::Kind::kFile, Table::kRuns, RunKey(run.id()),
                                  absl::StrCat("rejected prompts of ", RunText(run.id()))});
}

void DatabaseCheck::CheckRound(const v1::RunRecord& run, const v1::RoundRecord& round) {
  auto fault = [&](auto... what) {
    Fault(Table::kRounds, RoundKey(run.id(), round.round()),
          absl::StrCat(RoundText(run.id(), round.round()), " ", what...));
  };
  v1::RoundPhase phase = round.phase();
  if (phase == v1::ROUND_PHASE_UNSPECIFIED || !v1::RoundPhase_IsValid(phase)) {
    return fault("is in no known phase: ", phase);
  }
  bool stopped = phase == v1::ROUND_PHASE_FAILED || phase == v1::ROUND_PHASE_ABANDONED;
  if (round.round() == 0 && PhaseOrder(phase) < PhaseOrder(v1::ROUND_PHASE_EVALUATE))
    fault("is the base model's and draws samples");
  if (Ended(run) && !stopped && phase != v1::ROUND_PHASE_DONE) fault("goes on, and its run has ended");
  if (!Ended(run) && stopped) fault("was given up, and its run goes on");
  if (phase == v1::ROUND_PHASE_DONE && !round.evaluation().complete()) fault("is done and not evaluated");
  if (phase == v1::ROUND_PHASE_DONE && round.evaluation_features().empty()) {
    fault("is done and has no evaluation features");
  }
  if (round.round() > 0 && !stopped) {
    auto reached = [phase](v1::RoundPhase other) { return PhaseOrder(phase) >= PhaseOrder(other); };
    if (reached(v1::ROUND_PHASE_TRAIN) && round.manifest_parts().empty()) fault("has no training manifest");
    if (reached(v1::ROUND_PHASE_EVALUATE) && round.checkpoint().empty()) fault("has no checkpoint");
    if (reached(v1::ROUND_PHASE_WEIGHT) && round.selection().selected() == 0) fault("has selected nothing");
    if (reached(v1::ROUND_PHASE_WEIGHT) && NeedsReference(run.spec()) && run.reference().empty()) {
      fault("weighs its samples without a reference");
    }
  }
  if (round.round() > 0) {
    const uint32_t start = round.starts_from();
    if (start >= round.round()) return fault("starts from round ", start);
    auto before = rounds_.find({run.id(), start});
    if (start > 0 && before != rounds_.end() && before->second.checkpoint().empty()) {
      fault("was begun before round ", start, " had a checkpoint");
    }
  }
  CheckArtifactsOf(round);
}

void DatabaseCheck::CheckArtifactsOf(const v1::RoundRecord& round) {
  ArtifactUse use{ArtifactUse::Kind::kFile, Table::kRounds, RoundKey(round.run_id(), round.round()), ""};
  auto file = [&](const std::string& digest, absl::string_view what) {
    use.owner = absl::StrCat(what, " of ", RoundText(round.run_id(), round.round()));
    Use(digest, use);
  };
  file(round.checkpoint(), "checkpoint");
  for (const std::string& digest : round.manifest_parts()) file(digest, "training manifest");
  for (const std::string& digest : round.prompt_embeddings()) file(digest, "prompt embeddings");
  for (const std::string& digest : round.reference_moments()) file(digest, "moments");
  for (const std::string& digest : round.evaluation_features()) file(digest, "evaluation features");
}

void DatabaseCheck::CheckWorkers() {
  std::map<uint64_t, std::string> incarnations;
  for (const auto& [name, worker] : workers_) {
    auto fault = [&, &name = name](auto... what) {
      Fault(Table::kWorkers, name, absl::StrCat("worker ", name, " ", what...));
    };
    if (worker.state() < v1::WORKER_STATE_ACTIVE || worker.state() > v1::WORKER_STATE_LOST) {
      fault("is in no known state: ", worker.state());
    }
    if (worker.incarnation() == 0) fault("has no incarnation");
    if (meta_.has_value() && worker.incarnation() >= meta_->next_incarnation()) {
      fault("has incarnation ", worker.incarnation(), ", which was not issued yet");
    }
    auto [other, first] = incarnations.emplace(worker.incarnation(), name);
    if (!first) fault("has the incarnation of worker ", other->second, ": ", worker.incarnation());
  }
}

void DatabaseCheck::CheckGenerations() {
  for (const auto& [name, generations] : generations_) {
    const v1::GenerationRecord* before = nullptr;
    for (const v1::GenerationRecord& generation : generations) {
      auto fault = [&, &name = name](auto... what) {
        Fault(Table::kGenerations, GenerationKey(name.first, name.second, generation.generation()),
              absl::StrCat("generation ", generation.generation(), " of ", RoundText(name.first, name.second),
                           " ", what...));
      };
      if (rounds_.count(name) == 0) fault("has no round");
      if (generation.generation() == 0) fault("has no number");
      if (meta_.has_value() && generation.generation() >= meta_->next_generation()) {
        fault("was not issued yet: the next one is ", meta_->next_generation());
      }
      if (generation.members().empty()) fault("has no members");
      std::set<uint64_t> tokens;
      for (const auto& member : generation.members()) {
        if (!tokens.insert(member.token()).second) fault("has token ", member.token(), " twice");
        if (!TokenIsPossible(member.token())) fault("has token ", member.token(), ", which was never issued");
        if (member.joined_generation() > generation.generation()) fault("has a member of a later one");
      }
      if (before != nullptr && generation.checkpoint_step() < before->checkpoint_step() &&
          !IsEarlierCheckpoint(*before, generation.checkpoint_step())) {
        fault("goes back behind the checkpoint of step ", before->checkpoint_step());
      }
      if (generation.checkpoint().empty() != (generation.checkpoint_step() == 0)) {
        fault("has a checkpoint without a step, or a step without a checkpoint");
      }
      before = &generation;
    }
    auto round = rounds_.find(name);
    if (before == nullptr || round == rounds_.end() || round->second.phase() != v1::ROUND_PHASE_TRAIN)
      continue;
    Use(before->checkpoint(), {ArtifactUse::Kind::kFile, Table::kGenerations,
                               GenerationKey(name.first, name.second, before->generation()),
                               absl::StrCat("training state of ", RoundText(name.first, name.second))});
    for (const auto& earlier : before->earlier_checkpoints()) {
      report_.spare_artifacts.insert(earlier.digest());
    }
  }
}

void DatabaseCheck::CheckRequests() {
  for (const auto& [id, request] : requests_) {
    auto fault = [&, &id = id](auto... what) { Fault(Table::kRequests, id, absl::StrCat(what...)); };
    if (id.empty() || id.size() > kMaxRequestIdLength) fault("is not a request id");
    if (request.method().empty()) fault("has no method");
    v1::RegisterResponse registered;
    if (request.method() == v1::RegisterRequest::descriptor()->name() &&
        (!registered.ParseFromString(request.response()) || registered.incarnation() == 0)) {
      fault("holds no answer to a registration");
    }
    for (const auto& grant : request.grants()) {
      if (!TokenIsPossible(grant.token())) fault("grants token ", grant.token(), ", which was never issued");
    }
  }
}

}  // namespace rsidiff::coordinator
