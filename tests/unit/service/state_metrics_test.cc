#include "coordinator/service/state_metrics.h"

#include <gtest/gtest.h>

#include "common/telemetry/metrics_page.h"
#include "coordinator/service/service_discovery.h"

namespace rsidiff::coordinator {
namespace {

constexpr int64_t kHourUs = int64_t{3600} * 1'000'000;

StateSnapshot SnapshotWithRun(int64_t ended_us, int64_t now_us) {
  StateSnapshot snapshot;
  snapshot.info.set_now_us(now_us);
  v1::RunStatus run;
  run.mutable_run()->set_id(7);
  run.mutable_run()->mutable_spec()->set_name("n");
  run.mutable_run()->set_state(ended_us == 0 ? v1::RUN_STATE_ACTIVE : v1::RUN_STATE_SUCCEEDED);
  run.mutable_run()->set_ended_us(ended_us);
  run.mutable_run()->set_newest_round(1);
  v1::RoundRecord* round = run.add_rounds();
  round->set_round(1);
  round->set_phase(v1::ROUND_PHASE_TRAIN);
  v1::TaskCounts* counts = run.add_tasks();
  counts->set_kind(v1::TASK_KIND_GENERATE);
  counts->set_total(10);
  counts->set_done(4);
  counts->set_leased(3);
  counts->set_failed(1);
  run.mutable_training()->set_step(5);
  v1::RunCount* count = snapshot.runs.add_counts();
  count->set_state(run.run().state());
  count->set_runs(1);
  *snapshot.runs.add_runs() = std::move(run);
  return snapshot;
}

// Sum of the family's values over the series that have the label; -1 without any.
double Value(const StateSnapshot& snapshot, const std::string& family, const std::string& label,
             const std::string& value) {
  double sum = 0;
  int found = 0;
  for (const prometheus::MetricFamily& candidate : StateFamilies(snapshot)) {
    if (candidate.name != family) continue;
    for (const prometheus::ClientMetric& metric : candidate.metric) {
      for (const auto& pair : metric.label) {
        if (pair.name != label || pair.value != value) continue;
        sum += metric.gauge.value;
        ++found;
      }
    }
  }
  return found == 0 ? -1 : sum;
}

TEST(StateMetrics, TasksAddUpByState) {
  StateSnapshot snapshot = SnapshotWithRun(0, kHourUs);
  EXPECT_EQ(Value(snapshot, "rsidiff_tasks", "state", "pending"), 2);
  EXPECT_EQ(Value(snapshot, "rsidiff_tasks", "state", "leased"), 3);
  EXPECT_EQ(Value(snapshot, "rsidiff_tasks", "state", "done"), 4);
  EXPECT_EQ(Value(snapshot, "rsidiff_tasks", "state", "failed"), 1);
}

TEST(StateMetrics, OnePhaseIsOn) {
  StateSnapshot snapshot = SnapshotWithRun(0, kHourUs);
  EXPECT_EQ(Value(snapshot, "rsidiff_run_phase", "phase", "train"), 1);
  EXPECT_EQ(Value(snapshot, "rsidiff_run_phase", "run", "7"), 1);
}

TEST(StateMetrics, EndedRunLosesItsSeriesAfterAnHour) {
  EXPECT_EQ(Value(SnapshotWithRun(kHourUs, kHourUs + kHourUs - 1), "rsidiff_run_round", "run", "7"), 1);
  StateSnapshot later = SnapshotWithRun(kHourUs, kHourUs + kHourUs);
  for (const prometheus::MetricFamily& family : StateFamilies(later)) {
    for (const prometheus::ClientMetric& metric : family.metric) {
      for (const auto& label : metric.label) EXPECT_NE(label.name, "run") << family.name;
    }
  }
  EXPECT_EQ(Value(later, "rsidiff_runs", "state", "succeeded"), 1);
}

// The value of the family's series of round 1, or of the run where it has no round; -1: there is none.
double Figure(const StateSnapshot& snapshot, const std::string& family) {
  const double of_round = Value(snapshot, family, "round", "1");
  return of_round >= 0 ? of_round : Value(snapshot, family, "run", "7");
}

TEST(StateMetrics, GuardsShowTheRunsFigures) {
  StateSnapshot snapshot = SnapshotWithRun(0, kHourUs);
  v1::RunStatus& run = *snapshot.runs.mutable_runs(0);
  EXPECT_EQ(Figure(snapshot, "rsidiff_run_collapsed"), 0);
  EXPECT_EQ(Figure(snapshot, "rsidiff_diversity"), -1) << "the round is not evaluated";
  run.set_best_score(0.75);
  run.mutable_run()->set_collapse("round 1 has collapsed: its pictures look alike");
  v1::EvaluationSummary& evaluation = *run.mutable_rounds(0)->mutable_evaluation();
  evaluation.set_complete(true);
  evaluation.set_diversity(0.25);
  evaluation.set_frechet(1.5);
  EXPECT_EQ(Figure(snapshot, "rsidiff_run_best_score"), 0.75);
  EXPECT_EQ(Figure(snapshot, "rsidiff_run_collapsed"), 1);
  EXPECT_EQ(Figure(snapshot, "rsidiff_diversity"), 0.25);
  EXPECT_EQ(Figure(snapshot, "rsidiff_frechet_distance"), 1.5);
}

TEST(StateMetrics, WeightsAreShownOnceTheyAreComputed) {
  StateSnapshot snapshot = SnapshotWithRun(0, kHourUs);
  v1::RoundRecord& round = *snapshot.runs.mutable_runs(0)->mutable_rounds(0);
  round.set_phase(v1::ROUND_PHASE_WEIGHT);
  round.mutable_selection()->set_samples(96);
  round.mutable_selection()->set_selected(24);
  EXPECT_EQ(Figure(snapshot, "rsidiff_selected_samples"), 24);
  EXPECT_EQ(Figure(snapshot, "rsidiff_effective_sample_size"), -1);
  EXPECT_EQ(Figure(snapshot, "rsidiff_clipped_weight_share"), -1);
  round.set_phase(v1::ROUND_PHASE_TRAIN);
  round.mutable_selection()->set_effective_sample_size(18.5);
  round.mutable_selection()->set_clipped_share(0.125);
  EXPECT_EQ(Figure(snapshot, "rsidiff_effective_sample_size"), 18.5);
  EXPECT_EQ(Figure(snapshot, "rsidiff_clipped_weight_share"), 0.125);
}

TEST(StateMetrics, FailedSnapshotLeavesTheOtherFamilies) {
  MetricsPage page("coordinator");
  page.AddSource(std::make_shared<StateMetrics>(
      []() -> absl::StatusOr<StateSnapshot> { return absl::DeadlineExceededError("busy"); }));
  std::string text = page.Render();
  EXPECT_NE(text.find("rsidiff_build_info"), std::string::npos);
  EXPECT_EQ(text.find("rsidiff_runs"), std::string::npos);
}

TEST(ServiceDiscovery, IsAnEmptyListWithoutTargets) {
  EXPECT_EQ(ServiceDiscoveryJson("", {}), "[]");
}

TEST(ServiceDiscovery, LeavesOutWhoIsGone) {
  std::vector<v1::WorkerRecord> workers(2);
  for (v1::WorkerRecord& worker : workers) worker.mutable_capabilities()->set_http_address("h:1");
  workers[0].set_name("lost");
  workers[0].set_state(v1::WORKER_STATE_LOST);
  workers[1].set_name("draining");
  workers[1].set_state(v1::WORKER_STATE_DRAINING);
  std::string json = ServiceDiscoveryJson("c:1", workers);
  EXPECT_EQ(json.find("lost"), std::string::npos);
  EXPECT_NE(json.find("\"worker\":\"draining\""), std::string::npos);
}

}  // namespace
}  // namespace rsidiff::coordinator
