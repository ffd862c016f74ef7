#include "absl/strings/str_cat.h"
#include "coordinator/schedule/evaluation.h"
#include "coordinator/schedule/selection.h"
#include "coordinator/schedule/task_graph.h"
#include "coordinator/state/core_impl.h"

namespace rsidiff::coordinator {
namespace {

bool Ended(v1::RoundPhase phase) {
  return phase == v1::ROUND_PHASE_DONE || phase == v1::ROUND_PHASE_FAILED ||
         phase == v1::ROUND_PHASE_ABANDONED;
}

std::string PhaseSentence(uint32_t round, v1::RoundPhase phase) {
  switch (phase) {
    case v1::ROUND_PHASE_FILTER:
      return absl::StrCat("round ", round, " filters the prompts by their embeddings");
    case v1::ROUND_PHASE_SAMPLE:
      return absl::StrCat("round ", round, " draws samples");
    case v1::ROUND_PHASE_REFERENCE:
      return absl::StrCat("round ", round, " fits the reference distribution");
    case v1::ROUND_PHASE_SELECT:
      return absl::StrCat("round ", round, " selects samples");
    case v1::ROUND_PHASE_WEIGHT:
      return absl::StrCat("round ", round, " weighs its selected samples");
    case v1::ROUND_PHASE_TRAIN:
      return absl::StrCat("round ", round, " trains");
    case v1::ROUND_PHASE_EVALUATE:
      return absl::StrCat("round ", round, " is evaluated");
    default:
      return absl::StrCat("round ", round, " is done");
  }
}

// The newest round before `number` that did not start from the one before it; 0: none.
uint32_t LastRollBack(const Run& run, uint32_t number) {
  for (uint32_t round = number - 1; round > 0; --round) {
    if (run.rounds.at(round).record.starts_from() + 1 != round) return round;
  }
  return 0;
}

}  // namespace

void Core::Impl::PlanRound(Run& run, uint32_t number) {
  Round& round = run.rounds[number];
  round.record.set_run_id(run.id());
  round.record.set_round(number);
  round.record.set_started_us(NowMicros());
  if (number > 0) {
    round.record.set_starts_from(
        StartingRound(run.record.spec(), number, run.record.best_round(), LastRollBack(run, number)));
    if (round.record.starts_from() + 1 != number) {
      Log(run.id(), number, "",
          absl::StrCat("round ", number, " rolls back to the checkpoint of round ",
                       round.record.starts_from()));
    }
  }
  if (number > run.record.newest_round()) {
    run.record.set_newest_round(number);
    PutRun(run);
  }
  EnterPhase(run, round, FirstPhase(run.record.spec(), number));
}

void Core::Impl::RestorePlan(Run& run, Round& round) {
  const v1::RunSpec& spec = run.record.spec();
  if (Ended(round.record.phase())) return;
  const bool filtered = round.record.phase() != v1::ROUND_PHASE_FILTER;
  if (round.record.round() > 0 && filtered && round.plan[v1::PURPOSE_TRAINING].empty()) {
    if (run.order.empty()) run.order = PromptOrder(spec.seed(), run.Pool());
    round.plan[v1::PURPOSE_TRAINING] = TrainingSamples(spec, run.order, round.record.round());
  }
  round.plan[v1::PURPOSE_EVALUATION] = EvaluationSamples(spec, run.record.evaluation_prompt_count());
}

void Core::Impl::AddSampleTasks(Run& run, Round& round, v1::Purpose purpose) {
  uint32_t chunks = ChunkCount(round.plan.at(purpose).size(), run.record.spec().sampling().chunk());
  for (uint32_t chunk = 0; chunk < chunks; ++chunk) {
    AddTask(run, round, {run.id(), round.record.round(), v1::TASK_KIND_GENERATE, purpose, chunk});
    AddTask(run, round, {run.id(), round.record.round(), v1::TASK_KIND_SCORE, purpose, chunk});
  }
}

void Core::Impl::AddTask(Run& run, Round& round, const TaskId& id) {
  Task task;
  *task.record.mutable_key() = id.ToKey();
  task.record.set_state(v1::TASK_STATE_PENDING);
  PutTask(task);
  IndexTask(run, round, std::move(task));
  RefreshReady(run, round, round.tasks.at(id));
}

void Core::Impl::IndexTask(Run& run, Round& round, Task task) {
  TaskId id = TaskId::From(task.record.key());
  TaskGroup& group = round.groups[{id.kind, id.purpose}];
  ++group.total;
  v1::TaskState state = task.record.state();
  group.done += state == v1::TASK_STATE_DONE;
  group.failed += state == v1::TASK_STATE_FAILED;
  group.leased += state == v1::TASK_STATE_LEASED || state == v1::TASK_STATE_UNKNOWN;
  round.tasks[id] = std::move(task);
}

bool Core::Impl::AllDone(const Round& round, v1::TaskKind kind, v1::Purpose purpose) const {
  auto group = round.groups.find({kind, purpose});
  return group != round.groups.end() && group->second.done == group->second.total;
}

void Core::Impl::Advance(Run& run) {
  bool moved = true;
  while (moved && !run.ended()) {
    moved = false;
    // Indices, not iterators: a round that ends its training plans the next one.
    for (uint32_t number = 0; number <= run.record.newest_round() && !run.ended(); ++number) {
      auto round = run.rounds.find(number);
      if (round != run.rounds.end() && AdvanceRound(run, round->second)) moved = true;
    }
  }
}

bool Core::Impl::AdvanceRound(Run& run, Round& round) {
  const v1::RunSpec& spec = run.record.spec();
  v1::RoundPhase phase = round.record.phase();
  v1::RoundPhase next = NextPhase(spec, round.record.round(), phase);
  switch (phase) {
    case v1::ROUND_PHASE_SAMPLE:
      if (!AllDone(round, v1::TASK_KIND_SCORE, v1::PURPOSE_TRAINING)) return false;
      break;
    case v1::ROUND_PHASE_REFERENCE:
      if (!AdvanceReference(run, round)) return false;
      break;
    case v1::ROUND_PHASE_FILTER:
      AddFilterTask(run, round);
      [[fallthrough]];
    case v1::ROUND_PHASE_SELECT:
    case v1::ROUND_PHASE_WEIGHT:
      if (Reducible(run, round)) reducing_.insert({run.id(), round.record.round()});
      return false;  // ContinueReduction goes on
    case v1::ROUND_PHASE_TRAIN:
      if (!AllDone(round, v1::TASK_KIND_TRAIN, v1::PURPOSE_TRAINING)) return false;
      break;
    case v1::ROUND_PHASE_EVALUATE:
      return AdvanceEvaluation(run, round);
    default:
      return false;
  }
  EnterPhase(run, round, next);
  return true;
}

void Core::Impl::EnterPhase(Run& run, Round& round, v1::RoundPhase phase) {
  uint32_t number = round.record.round();
  round.record.set_phase(phase);
  PutRound(round);
  Log(run.id(), number, "", PhaseSentence(number, phase));
  TaskId task{run.id(), number, v1::TASK_KIND_UNSPECIFIED, v1::PURPOSE_TRAINING, 0};
  switch (phase) {
    case v1::ROUND_PHASE_FILTER:
      task.kind = v1::TASK_KIND_EMBED;
      for (; task.index < ChunkCount(run.record.train_prompt_count(), kEmbedBlock); ++task.index) {
        AddTask(run, round, task);
      }
      break;
    case v1::ROUND_PHASE_SAMPLE:
      RestorePlan(run, round);
      RequireReference(run, round);
      if (run.ended()) break;
      AddSampleTasks(run, round, v1::PURPOSE_TRAINING);
      break;
    case v1::ROUND_PHASE_REFERENCE:
      AddReferenceTasks(run, round);
      break;
    case v1::ROUND_PHASE_WEIGHT:
      task.kind = v1::TASK_KIND_WEIGHT;
      if (!NeedsReference(run.record.spec())) break;
      for (; task.index < ChunkCount(round.record.selection().selected(), kWeightBlock); ++task.index) {
        AddTask(run, round, task);
      }
      break;
    case v1::ROUND_PHASE_TRAIN:
      task.kind = v1::TASK_KIND_TRAIN;
      AddTask(run, round, task);
      break;
    case v1::ROUND_PHASE_EVALUATE:
      RestorePlan(run, round);
      ForgetSamples(run, round, v1::PURPOSE_TRAINING);
      AddSampleTasks(run, round, v1::PURPOSE_EVALUATION);
      if (number > 0 && number < run.record.spec().rounds() && !WaitsForEvaluation(run.record.spec())) {
        PlanRound(run, number + 1);
      }
      break;
    default:
      break;
  }
}

bool Core::Impl::AdvanceEvaluation(Run& run, Round& round) {
  uint32_t number = round.record.round();
  if (!AllDone(round, v1::TASK_KIND_SCORE, v1::PURPOSE_EVALUATION)) return false;
  if (round.record.evaluation_features().empty()) SummarizeEvaluation(run, round);
  if (round.groups.count({v1::TASK_KIND_MEASURE, v1::PURPOSE_EVALUATION}) == 0) {
    // Compared with round 0's features, which have to be there.
    if (run.rounds.at(0).record.evaluation_features().empty()) return false;
    AddTask(run, round, {run.id(), number, v1::TASK_KIND_MEASURE, v1::PURPOSE_EVALUATION, 0});
    return true;
  }
  if (!AllDone(round, v1::TASK_KIND_MEASURE, v1::PURPOSE_EVALUATION)) return false;
  FinishRound(run, round);
  return true;
}

void Core::Impl::SummarizeEvaluation(Run& run, Round& round) {
  const auto& samples = round.samples.at(v1::PURPOSE_EVALUATION);
  v1::EvaluationSummary& summary = *round.record.mutable_evaluation();
  std::vector<std::string> scorers = ScorersFor(run.record.spec(), v1::PURPOSE_EVALUATION);
  ScoreColumns scores(scorers);
  for (const auto& [index, sample] : samples) scores.Add(sample);
  for (auto& [name, statistics] : scores.Statistics()) {
    (*summary.mutable_scores())[name] = statistics;
  }
  summary.set_samples(samples.size());
  if (round.record.round() == 0) WarnOfConstantJudges(run, summary);
  for (const auto& [index, sample] : samples) {
    if (sample.row() == 0) round.record.add_evaluation_features(sample.features());
  }
  PutRound(round);
}

void Core::Impl::WarnOfConstantJudges(Run& run, const v1::EvaluationSummary& base) {
  for (const v1::ScorerSpec& scorer : run.record.spec().scorers()) {
    if (scorer.role() != v1::SCORER_ROLE_HELD_OUT) continue;
    const v1::ScorerStatistics& scores = base.scores().at(scorer.name());
    if (!TellsNothingApart(scores)) continue;
    Warn(run, 0,
         absl::StrCat("held-out scorer ", scorer.name(), " gave ", scores.mean(),
                      " to each of the base model's ", scores.count(),
                      " evaluation pictures: by it no round can be judged"));
  }
}

void Core::Impl::FinishRound(Run& run, Round& round) {
  round.record.mutable_evaluation()->set_complete(true);
  round.record.set_phase(v1::ROUND_PHASE_DONE);
  round.record.set_ended_us(NowMicros());
  PutRound(round);
  Log(run.id(), round.record.round(), "", PhaseSentence(round.record.round(), v1::ROUND_PHASE_DONE));
  ForgetSamples(run, round, v1::PURPOSE_EVALUATION);
  round.plan.clear();
  // A worker may still repeat the completion of this round's last task, not of the round before.
  if (round.record.round() > 0) ForgetTasks(run.rounds.at(round.record.round() - 1));
  JudgeRun(run);
}

void Core::Impl::ForgetSamples(Run& run, Round& round, v1::Purpose purpose) {
  auto samples = round.samples.find(purpose);
  if (samples == round.samples.end()) return;
  SamplesNeeded needed = NeededSamples(run.record, round.record.phase(), purpose);
  if (needed == SamplesNeeded::kAll) return;
  if (needed == SamplesNeeded::kSelected) {
    thinning_[{run.id(), round.record.round()}] = 0;
    return;
  }
  discarded_.push_back(std::move(samples->second));
  round.samples.erase(samples);
  if (purpose == v1::PURPOSE_TRAINING) std::vector<Judgement>().swap(round.judgements);
}

void Core::Impl::ForgetTasks(Round& round) {
  if (!Ended(round.record.phase())) return;
  // The times of completions say nothing from before a restart or a stall.
  const absl::Time recent = now_ - kBriefMemory;
  const int64_t since = heard_since_ > recent ? 0 : absl::ToUnixMicros(recent);
  for (const auto& [id, task] : round.tasks) {
    const v1::TaskRecord& record = task.record;
    if (!record.request_id().empty() && record.done_us() >= since) RememberCompletion(record.request_id());
    Delete(Table::kTasks, TaskRowKey(id));
  }
  round.tasks.clear();
  round.groups.clear();
}

void Core::Impl::JudgeRun(Run& run) {
  std::vector<v1::EvaluationSummary> evaluated;
  for (const auto& [number, round] : run.rounds) {
    if (!round.record.evaluation().complete()) break;
    evaluated.push_back(round.record.evaluation());
  }
  if (evaluated.empty()) return;
  RoundJudgement judgement = JudgeRounds(run.record.spec(), evaluated, run.record.forked_round());
  run.best_score = judgement.best_score;
  std::string collapse = FirstCollapse(run.record.spec(), evaluated);
  if (!collapse.empty() && run.record.collapse() != collapse) Log(run.id(), 0, "", collapse);
  if (run.record.best_round() != judgement.best_round || run.record.collapse() != collapse) {
    run.record.set_best_round(judgement.best_round);
    run.record.set_collapse(std::move(collapse));
    PutRun(run);
  }
  if (run.ended()) return;
  const uint32_t newest = run.record.newest_round();
  if (evaluated.size() > run.record.spec().rounds() || judgement.stop) {
    EndRun(run, v1::RUN_STATE_SUCCEEDED, judgement.reason);
  } else if (WaitsForEvaluation(run.record.spec()) && evaluated.size() > newest) {
    PlanRound(run, newest + 1);
  }
}

}  // namespace rsidiff::coordinator
