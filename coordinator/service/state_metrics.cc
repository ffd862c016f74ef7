#include "coordinator/service/state_metrics.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "common/base/enum_label.h"
#include "common/telemetry/family_builder.h"
#include "common/telemetry/log.h"

namespace rsidiff::coordinator {
namespace {

using prometheus::MetricType;
using Families = std::vector<prometheus::MetricFamily>;

std::string Label(v1::RunState state) {
  return EnumLabel(v1::RunState_Name(state), "RUN_STATE_");
}
std::string Label(v1::RoundPhase phase) {
  return EnumLabel(v1::RoundPhase_Name(phase), "ROUND_PHASE_");
}
std::string Label(v1::TaskKind kind) {
  return EnumLabel(v1::TaskKind_Name(kind), "TASK_KIND_");
}
std::string Label(v1::Purpose purpose) {
  return EnumLabel(v1::Purpose_Name(purpose), "PURPOSE_");
}
std::string Label(v1::WorkerState state) {
  return EnumLabel(v1::WorkerState_Name(state), "WORKER_STATE_");
}

bool IsShown(const v1::RunRecord& run, int64_t now_us) {
  return run.ended_us() == 0 || now_us - run.ended_us() < absl::ToInt64Microseconds(kKeepEnded);
}

// The enum's values but the first, which is UNSPECIFIED.
template <typename Enum>
std::vector<Enum> Values(const google::protobuf::EnumDescriptor* descriptor) {
  std::vector<Enum> values;
  for (int i = 1; i < descriptor->value_count(); ++i) {
    values.push_back(static_cast<Enum>(descriptor->value(i)->number()));
  }
  return values;
}

Families CoordinatorFamilies(const StateSnapshot& snapshot) {
  std::map<v1::WorkerState, int> by_state;
  for (const v1::WorkerRecord& worker : snapshot.workers) ++by_state[worker.state()];
  FamilyBuilder workers("rsidiff_workers", "Known workers by state", MetricType::Gauge);
  for (v1::WorkerState state : Values<v1::WorkerState>(v1::WorkerState_descriptor())) {
    workers.Add({{"state", Label(state)}}, by_state[state]);
  }

  std::map<v1::RunState, uint32_t> run_states;
  for (const v1::RunCount& count : snapshot.runs.counts()) run_states[count.state()] = count.runs();
  FamilyBuilder runs("rsidiff_runs", "Runs by state", MetricType::Gauge);
  for (v1::RunState state : Values<v1::RunState>(v1::RunState_descriptor())) {
    runs.Add({{"state", Label(state)}}, run_states[state]);
  }
  return {SingleValue("rsidiff_coordinator_epoch", "Starts of the coordinator on its data folder",
                      MetricType::Gauge, static_cast<double>(snapshot.info.epoch())),
          SingleValue("rsidiff_queued_calls", "Calls that wait for the core", MetricType::Gauge,
                      static_cast<double>(snapshot.queued_calls)),
          workers.Build(), runs.Build()};
}

prometheus::MetricFamily Counter(const char* name, const char* help, uint64_t value) {
  return SingleValue(name, help, MetricType::Counter, static_cast<double>(value));
}

Families CounterFamilies(const CoreStatistics& statistics) {
  Families families = {
      Counter("rsidiff_lease_grants_total", "Leases granted", statistics.leases_granted),
      Counter("rsidiff_lease_expirations_total", "Leases that ran out because the worker was not heard of",
              statistics.leases_expired),
      Counter("rsidiff_completions_total", "Task results accepted", statistics.completions),
      Counter("rsidiff_completions_fenced_total", "Task results refused because their lease was stale",
              statistics.completions_fenced),
      Counter("rsidiff_task_errors_total", "Attempts at tasks that ended in an error",
              statistics.task_errors),
      Counter("rsidiff_tasks_returned_total", "Tasks that workers gave back undone",
              statistics.tasks_returned),
      Counter("rsidiff_train_generations_total", "Training memberships formed",
              statistics.generations_formed),
      Counter("rsidiff_train_checkpoints_refused_total",
              "Training checkpoints found damaged or gone and given up for the ones before",
              statistics.checkpoints_refused)};
  FamilyBuilder seconds("rsidiff_task_seconds_total", "Seconds that workers spent on finished tasks",
                        MetricType::Counter);
  FamilyBuilder done("rsidiff_tasks_done_total", "Finished tasks by kind", MetricType::Counter);
  for (v1::TaskKind kind : Values<v1::TaskKind>(v1::TaskKind_descriptor())) {
    auto spent = statistics.task_seconds.find(kind);
    auto count = statistics.tasks_done.find(kind);
    seconds.Add({{"kind", Label(kind)}}, spent == statistics.task_seconds.end() ? 0 : spent->second);
    done.Add({{"kind", Label(kind)}},
             count == statistics.tasks_done.end() ? 0 : static_cast<double>(count->second));
  }
  FamilyBuilder generated("rsidiff_samples_generated_total", "Samples drawn", MetricType::Counter);
  FamilyBuilder scored("rsidiff_samples_scored_total", "Samples scored", MetricType::Counter);
  auto add_samples = [](FamilyBuilder& family, const std::map<v1::Purpose, uint64_t>& counts) {
    for (v1::Purpose purpose : Values<v1::Purpose>(v1::Purpose_descriptor())) {
      auto found = counts.find(purpose);
      family.Add({{"purpose", Label(purpose)}},
                 found == counts.end() ? 0 : static_cast<double>(found->second));
    }
  };
  add_samples(generated, statistics.samples_generated);
  add_samples(scored, statistics.samples_scored);
  for (FamilyBuilder* family : {&seconds, &done, &generated, &scored}) families.push_back(family->Build());
  return families;
}

Families ProgressFamilies(const std::vector<const v1::RunStatus*>& runs) {
  FamilyBuilder info("rsidiff_run_info", "Name and state of a run, always 1", MetricType::Gauge);
  FamilyBuilder round("rsidiff_run_round", "Newest round", MetricType::Gauge);
  FamilyBuilder phase("rsidiff_run_phase", "1 for the phase that the newest round is in, else 0",
                      MetricType::Gauge);
  FamilyBuilder best("rsidiff_run_best_round", "Best round so far by score, 0 is the base model",
                     MetricType::Gauge);
  FamilyBuilder score("rsidiff_run_best_score", "Score of the best round, that rounds are compared by",
                      MetricType::Gauge);
  FamilyBuilder collapsed("rsidiff_run_collapsed", "1 once a round of the run has collapsed, else 0",
                          MetricType::Gauge);
  FamilyBuilder warnings("rsidiff_run_warnings", "Warnings that `rsidiff run show` lists, a collapse aside",
                         MetricType::Gauge);
  FamilyBuilder waits("rsidiff_run_waits_for_workers",
                      "1 while an active run stands still for want of workers, else 0", MetricType::Gauge);
  for (const v1::RunStatus* run : runs) {
    std::string id = absl::StrCat(run->run().id());
    info.Add({{"run", id}, {"name", run->run().spec().name()}, {"state", Label(run->run().state())}}, 1);
    round.Add({{"run", id}}, run->run().newest_round());
    best.Add({{"run", id}}, run->run().best_round());
    score.Add({{"run", id}}, run->best_score());
    collapsed.Add({{"run", id}}, run->run().collapse().empty() ? 0 : 1);
    warnings.Add({{"run", id}}, run->run().warnings_size());
    waits.Add({{"run", id}}, run->waits_for().empty() ? 0 : 1);
    for (const v1::RoundRecord& record : run->rounds()) {
      if (record.round() != run->run().newest_round()) continue;
      for (v1::RoundPhase value : Values<v1::RoundPhase>(v1::RoundPhase_descriptor())) {
        phase.Add({{"run", id}, {"phase", Label(value)}}, record.phase() == value ? 1 : 0);
      }
    }
  }
  return {info.Build(),  round.Build(),     phase.Build(),    best.Build(),
          score.Build(), collapsed.Build(), warnings.Build(), waits.Build()};
}

Families PromptFamilies(const std::vector<const v1::RunStatus*>& runs) {
  FamilyBuilder kept("rsidiff_run_prompts", "Training prompts of a run that its filter kept",
                     MetricType::Gauge);
  FamilyBuilder rejected("rsidiff_run_prompts_rejected",
                         "Training prompts that the filter rejected, by score", MetricType::Gauge);
  for (const v1::RunStatus* run : runs) {
    const std::string id = absl::StrCat(run->run().id());
    const v1::EmbeddingFilterSummary& embedded = run->run().embedding_filter();
    kept.Add({{"run", id}}, run->run().train_prompt_count() - embedded.specificity() - embedded.diversity());
    const v1::RunInputs& inputs = run->run().inputs();
    if (!inputs.has_filtered()) continue;
    rejected.Add({{"run", id}, {"score", "clarity"}}, inputs.filtered().clarity());
    rejected.Add({{"run", id}, {"score", "specificity"}},
                 inputs.filtered().specificity() + embedded.specificity());
    rejected.Add({{"run", id}, {"score", "diversity"}}, inputs.filtered().diversity() + embedded.diversity());
  }
  return {kept.Build(), rejected.Build()};
}

Families TaskFamilies(const std::vector<const v1::RunStatus*>& runs) {
  struct States {
    uint64_t pending = 0, leased = 0, done = 0, failed = 0;
  };
  FamilyBuilder tasks("rsidiff_tasks", "Tasks of unfinished rounds by kind and state", MetricType::Gauge);
  FamilyBuilder total("rsidiff_round_samples", "Samples of unfinished rounds that tasks of a kind have to do",
                      MetricType::Gauge);
  FamilyBuilder done("rsidiff_round_samples_done",
                     "Samples of unfinished rounds that tasks of a kind have done", MetricType::Gauge);
  for (const v1::RunStatus* run : runs) {
    std::string id = absl::StrCat(run->run().id());
    std::map<v1::TaskKind, States> kinds;
    for (const v1::TaskCounts& counts : run->tasks()) {
      States& states = kinds[counts.kind()];
      states.leased += counts.leased();
      states.done += counts.done();
      states.failed += counts.failed();
      uint32_t begun = counts.leased() + counts.done() + counts.failed();
      states.pending += counts.total() > begun ? counts.total() - begun : 0;
      if (counts.samples_total() == 0) continue;
      FamilyBuilder::Labels labels = {{"run", id},
                                      {"round", absl::StrCat(counts.round())},
                                      {"kind", Label(counts.kind())},
                                      {"purpose", Label(counts.purpose())}};
      total.Add(labels, counts.samples_total());
      done.Add(labels, counts.samples_done());
    }
    for (const auto& [kind, states] : kinds) {
      for (auto [state, count] : {std::pair("pending", states.pending), std::pair("leased", states.leased),
                                  std::pair("done", states.done), std::pair("failed", states.failed)}) {
        tasks.Add({{"run", id}, {"kind", Label(kind)}, {"state", state}}, static_cast<double>(count));
      }
    }
  }
  return {tasks.Build(), total.Build(), done.Build()};
}

void AddScores(FamilyBuilder& family, const std::string& run, const std::string& round, const char* samples,
               const google::protobuf::Map<std::string, v1::ScorerStatistics>& scores) {
  std::map<std::string, double> sorted;
  for (const auto& [scorer, statistics] : scores) sorted[scorer] = statistics.mean();
  for (const auto& [scorer, mean] : sorted) {
    family.Add({{"run", run}, {"round", round}, {"scorer", scorer}, {"samples", samples}}, mean);
  }
}

Families RoundFamilies(const std::vector<const v1::RunStatus*>& runs) {
  FamilyBuilder scores("rsidiff_score_mean", "Mean score of a round's samples: evaluation, drawn or selected",
                       MetricType::Gauge);
  FamilyBuilder diversity("rsidiff_diversity", "Mean pairwise cosine distance of the evaluation samples",
                          MetricType::Gauge);
  FamilyBuilder frechet("rsidiff_frechet_distance",
                        "Frechet distance of the evaluation samples to the base model's", MetricType::Gauge);
  FamilyBuilder effective("rsidiff_effective_sample_size",
                          "Effective number of selected samples under their weights", MetricType::Gauge);
  FamilyBuilder clipped("rsidiff_clipped_weight_share", "Share of the weights at a clip bound",
                        MetricType::Gauge);
  FamilyBuilder selected("rsidiff_selected_samples", "Samples that the round's selection kept",
                         MetricType::Gauge);
  FamilyBuilder loss("rsidiff_train_loss",
                     "Training loss over the first and the last tenth of a round's steps", MetricType::Gauge);
  for (const v1::RunStatus* run : runs) {
    std::string id = absl::StrCat(run->run().id());
    for (const v1::RoundRecord& record : run->rounds()) {
      std::string round = absl::StrCat(record.round());
      FamilyBuilder::Labels labels = {{"run", id}, {"round", round}};
      if (record.evaluation().complete()) {
        AddScores(scores, id, round, "evaluation", record.evaluation().scores());
        diversity.Add(labels, record.evaluation().diversity());
        frechet.Add(labels, record.evaluation().frechet());
      }
      if (record.selection().samples() > 0) {
        AddScores(scores, id, round, "drawn", record.selection().all());
        AddScores(scores, id, round, "selected", record.selection().kept());
        selected.Add(labels, record.selection().selected());
      }
      if (record.selection().effective_sample_size() > 0) {  // 0 until the weights are computed
        effective.Add(labels, record.selection().effective_sample_size());
        clipped.Add(labels, record.selection().clipped_share());
      }
      if (record.train().steps() > 0) {
        loss.Add({{"run", id}, {"round", round}, {"part", "first"}}, record.train().first_loss());
        loss.Add({{"run", id}, {"round", round}, {"part", "last"}}, record.train().last_loss());
      }
    }
  }
  return {scores.Build(),  diversity.Build(), frechet.Build(), effective.Build(),
          clipped.Build(), selected.Build(),  loss.Build()};
}

Families TrainingFamilies(const std::vector<const v1::RunStatus*>& runs) {
  FamilyBuilder step("rsidiff_train_step", "Optimizer steps taken in the training under way",
                     MetricType::Gauge);
  FamilyBuilder steps("rsidiff_train_steps", "Optimizer steps that the training under way takes",
                      MetricType::Gauge);
  FamilyBuilder loss("rsidiff_train_step_loss", "Loss of the newest step of the training under way",
                     MetricType::Gauge);
  FamilyBuilder members("rsidiff_train_members", "Workers in the training under way", MetricType::Gauge);
  for (const v1::RunStatus* run : runs) {
    if (!run->has_training()) continue;
    FamilyBuilder::Labels labels = {{"run", absl::StrCat(run->run().id())}};
    step.Add(labels, static_cast<double>(run->training().step()));
    steps.Add(labels, static_cast<double>(run->training().steps()));
    loss.Add(labels, run->training().loss());
    members.Add(labels, run->training().members());
  }
  return {step.Build(), steps.Build(), loss.Build(), members.Build()};
}

}  // namespace

std::vector<prometheus::MetricFamily> StateFamilies(const StateSnapshot& snapshot) {
  std::vector<const v1::RunStatus*> shown;
  for (const v1::RunStatus& run : snapshot.runs.runs()) {
    if (IsShown(run.run(), snapshot.info.now_us())) shown.push_back(&run);
  }
  Families all;
  for (Families part :
       {CoordinatorFamilies(snapshot), CounterFamilies(snapshot.statistics), ProgressFamilies(shown),
        PromptFamilies(shown), TaskFamilies(shown), RoundFamilies(shown), TrainingFamilies(shown)}) {
    for (prometheus::MetricFamily& family : part) all.push_back(std::move(family));
  }
  return all;
}

std::vector<prometheus::MetricFamily> StateMetrics::Collect() const {
  absl::StatusOr<StateSnapshot> snapshot = take_();
  if (snapshot.ok()) return StateFamilies(*snapshot);
  LogWarning(absl::StrCat("metrics without the state: ", snapshot.status().message()));
  return {};
}

}  // namespace rsidiff::coordinator
