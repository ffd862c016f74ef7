// Rolling back to the best round, and telling that a round has collapsed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "coordinator/schedule/evaluation.h"
#include "tests/unit/coordinator/core_harness.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

using ::testing::HasSubstr;

class CoreGuardsTest : public ::testing::Test {
 protected:
  void SetUp() override { incarnation_ = harness_.Register("w"); }

  v1::RunStatus Run(uint64_t id) { return harness_.GetRun(id); }

  // Works everything off. The checkpoints that each round's own samples were drawn with and its training
  // began at.
  std::map<uint32_t, std::set<std::string>> Work() {
    std::map<uint32_t, std::set<std::string>> used;
    for (auto grants = harness_.Lease("w", incarnation_); !grants.empty();
         grants = harness_.Lease("w", incarnation_)) {
      const v1::Grant& grant = grants[0];
      const v1::TaskKey& task = grant.task();
      const bool draws = task.kind() == v1::TASK_KIND_GENERATE && task.purpose() == v1::PURPOSE_TRAINING;
      if (draws || task.kind() == v1::TASK_KIND_TRAIN)
        used[task.round()].insert(grant.payload().checkpoint());
      if (task.kind() == v1::TASK_KIND_TRAIN) {
        EXPECT_TRUE(harness_.Ok<v1::JoinTrainingResponse>(harness_.Join("w", incarnation_, grant)).formed());
      }
      v1::CompleteRequest complete = harness_.Completion("w", incarnation_, grant);
      if (complete.result().has_measure() && task.round() == alike_) {
        complete.mutable_result()->mutable_measure()->set_diversity(0.01);
      }
      harness_.Ok<v1::CompleteResponse>(complete);
    }
    return used;
  }

  uint32_t alike_ = 1000;  // round whose pictures look alike
  CoreHarness harness_;
  uint64_t incarnation_ = 0;
};

TEST_F(CoreGuardsTest, RoundsStartFromTheBestOneAfterOthersWereWorse) {
  v1::SubmitRunRequest request = SmallRun("submit", 12);
  request.mutable_spec()->mutable_stop()->set_roll_back_after(2);
  harness_.Ok<v1::SubmitRunResponse>(request);
  const auto used = Work();
  const v1::RunStatus run = Run(1);
  ASSERT_EQ(run.run().state(), v1::RUN_STATE_SUCCEEDED);
  ASSERT_EQ(run.rounds_size(), 13);
  std::vector<v1::EvaluationSummary> evaluated;
  int rolled_back = 0;
  uint32_t worse = 0;  // rounds since the best one, or since the last roll-back
  for (const v1::RoundRecord& round : run.rounds()) {
    if (round.round() > 0) {
      const uint32_t best = JudgeRounds(run.run().spec(), evaluated).best_round;
      const uint32_t newest = round.round() - 1;
      worse = best == newest ? 0 : worse + 1;
      const bool rolls_back = worse == 2;
      const uint32_t expected = rolls_back ? best : newest;
      rolled_back += rolls_back;
      if (rolls_back) worse = 0;
      EXPECT_EQ(round.starts_from(), expected) << "round " << round.round();
      EXPECT_EQ(used.at(round.round()), std::set<std::string>{run.rounds(expected).checkpoint()})
          << "round " << round.round();
    }
    evaluated.push_back(round.evaluation());
  }
  EXPECT_GT(rolled_back, 1);
  EXPECT_TRUE(harness_.MemoryEqualsDisk());
}

TEST_F(CoreGuardsTest, RoundsThatWereRolledBackAreNotReplayed) {
  v1::SubmitRunRequest request = SmallRun("submit", 8);
  request.mutable_spec()->mutable_stop()->set_roll_back_after(2);
  harness_.Ok<v1::SubmitRunResponse>(request);
  Work();
  const v1::RunStatus run = Run(1);
  // Per round the lines of its own samples, and those of the samples that it replays.
  std::vector<std::vector<std::string>> own(1);
  size_t left_out = 0;
  for (const v1::RoundRecord& round : run.rounds()) {
    if (round.round() == 0) continue;
    std::string text;
    for (const std::string& part : round.manifest_parts()) text += harness_.artifacts().at(part);
    std::vector<std::string> replayed;
    own.emplace_back();
    for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      const bool replay = absl::StrContains(line, "\"replay\":true");
      (replay ? replayed : own.back())
          .push_back(absl::StrReplaceAll(line, {{"\"replay\":true", "\"replay\":false"}}));
    }
    std::vector<std::string> expected;
    for (uint32_t start = round.starts_from(); start > 0; start = run.rounds(start).starts_from()) {
      expected.insert(expected.begin(), own[start].begin(), own[start].end());
      left_out += run.rounds(start).starts_from() + 1 != start;
    }
    EXPECT_EQ(replayed, expected) << "round " << round.round();
  }
  EXPECT_GT(left_out, 0u) << "no round goes on from one that rolled back";
}

TEST_F(CoreGuardsTest, WithoutRollBackEachRoundStartsFromTheOneBefore) {
  harness_.Ok<v1::SubmitRunResponse>(SmallRun("submit", 4));
  Work();
  const v1::RunStatus run = Run(1);
  for (const v1::RoundRecord& round : run.rounds()) {
    EXPECT_EQ(round.starts_from(), round.round() == 0 ? 0 : round.round() - 1);
  }
}

TEST_F(CoreGuardsTest, RoundsThatAnEarlierVersionStoredStartFromTheOneBefore) {
  harness_.Ok<v1::SubmitRunResponse>(SmallRun("submit", 3));
  Work();
  std::vector<Row> rows;
  for (const auto& [where, value] : harness_.disk()) {
    if (where.first == Table::kEvents) continue;
    rows.push_back({where.first, where.second, value});
    if (where.first != Table::kRounds) continue;
    v1::RoundRecord round;
    round.ParseFromString(value);
    round.clear_starts_from();
    rows.back().value = round.SerializeAsString();
  }
  CoreOptions options;
  options.cluster_id = "test-cluster";
  auto recovered = Core::Recover(options, std::move(rows), harness_.now());
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  int later = 0;
  for (const Row& row : recovered->first->Dump()) {
    if (row.table != Table::kRounds) continue;
    v1::RoundRecord round;
    round.ParseFromString(row.value);
    EXPECT_EQ(round.starts_from(), round.round() == 0 ? 0 : round.round() - 1);
    later += round.round() > 1;
  }
  EXPECT_EQ(later, 2);
}

TEST_F(CoreGuardsTest, AForkRollsBackToTheBestOfItsOwnRounds) {
  v1::SubmitRunRequest request = SmallRun("submit", 12);
  request.mutable_spec()->mutable_stop()->set_roll_back_after(1);
  request.mutable_spec()->set_seed(9);  // the best round is a late one
  harness_.Ok<v1::SubmitRunResponse>(request);
  Work();
  const v1::RunStatus parent = Run(1);
  const uint32_t later_best = parent.run().best_round();
  ASSERT_GT(later_best, 1u) << "the parent's best round has to lie behind the fork";
  v1::ForkRunRequest fork;
  fork.set_request_id("fork");
  fork.set_run_id(1);
  fork.set_from_round(later_best - 1);
  std::vector<Row> rows;
  for (const auto& [where, value] : harness_.disk()) rows.push_back({where.first, where.second, value});
  harness_.Ok<v1::SubmitRunResponse>(ForkRun{fork, rows});
  const v1::RunStatus run = Run(2);
  ASSERT_EQ(run.rounds_size(), static_cast<int>(later_best) + 1);
  EXPECT_EQ(run.rounds(later_best).starts_from(), parent.rounds(later_best).starts_from());
  Work();
  EXPECT_EQ(Run(2).rounds(later_best).checkpoint(), parent.rounds(later_best).checkpoint());
}

TEST_F(CoreGuardsTest, RunSaysWhichRoundCollapsed) {
  alike_ = 2;
  harness_.Ok<v1::SubmitRunResponse>(SmallRun("submit", 3));
  Work();
  const v1::RunStatus run = Run(1);
  EXPECT_EQ(run.run().state(), v1::RUN_STATE_SUCCEEDED);
  EXPECT_THAT(run.run().collapse(),
              HasSubstr("round 2 has collapsed: its pictures look alike: diversity 0.01"));
}

TEST_F(CoreGuardsTest, OnePromptAndOneSampleAreARun) {
  v1::SubmitRunRequest request = SmallRun("submit", 2);
  request.mutable_inputs()->mutable_train_prompts()->DeleteSubrange(1, 3);
  request.mutable_inputs()->mutable_evaluation_prompts()->DeleteSubrange(1, 1);
  request.mutable_spec()->mutable_sampling()->set_samples_per_prompt(1);
  harness_.Ok<v1::SubmitRunResponse>(request);
  Work();
  const v1::RunStatus run = Run(1);
  EXPECT_EQ(run.run().state(), v1::RUN_STATE_SUCCEEDED) << run.run().reason();
  EXPECT_EQ(run.rounds(1).selection().selected(), 1u);
}

TEST_F(CoreGuardsTest, OneSampleHasNoDistributionSoAllWeightsAreOne) {
  for (v1::WeightMethod method : {v1::WEIGHT_METHOD_GAUSSIAN, v1::WEIGHT_METHOD_KNN}) {
    for (uint32_t samples : {1, 2}) {
      CoreHarness harness;
      const uint64_t incarnation = harness.Register("w");
      v1::SubmitRunRequest request = SmallRun("submit", 2);
      request.mutable_inputs()->mutable_train_prompts()->DeleteSubrange(1, 3);
      request.mutable_spec()->mutable_sampling()->set_samples_per_prompt(samples);
      request.mutable_spec()->mutable_weights()->set_method(method);
      harness.Ok<v1::SubmitRunResponse>(request);
      std::set<v1::TaskKind> kinds;
      for (const v1::TaskKey& task : harness.Work("w", incarnation)) kinds.insert(task.kind());
      const v1::RunStatus run = harness.GetRun(1);
      EXPECT_EQ(run.run().state(), v1::RUN_STATE_SUCCEEDED) << run.run().reason();
      EXPECT_EQ(kinds.count(v1::TASK_KIND_FIT_REFERENCE), samples - 1) << "a worker refuses one sample";
      EXPECT_EQ(kinds.count(v1::TASK_KIND_WEIGHT), samples - 1);
      EXPECT_EQ(run.run().spec().weights().method(), samples == 1 ? v1::WEIGHT_METHOD_UNIFORM : method);
      std::string log;
      for (const auto& [where, value] : harness.disk()) {
        if (where.first == Table::kEvents) log += value;
      }
      const std::string why =
          "all weights are 1: distances need at least two samples in round 1, which has 1";
      EXPECT_EQ(absl::StrContains(log, why), samples == 1);
      EXPECT_TRUE(harness.CheckDisk().ok()) << harness.CheckDisk();
    }
  }
}

v1::EvaluationSummary Evaluation(double score, double diversity) {
  v1::EvaluationSummary summary;
  (*summary.mutable_scores())["h"].set_mean(score);
  (*summary.mutable_scores())["h"].set_stddev(0.1);
  summary.set_diversity(diversity);
  return summary;
}

TEST(FirstCollapseTest, ComparesWithTheBase) {
  v1::RunSpec spec;
  spec.add_scorers()->set_name("h");
  spec.mutable_scorers(0)->set_role(v1::SCORER_ROLE_HELD_OUT);
  const v1::EvaluationSummary base = Evaluation(0.5, 0.4);
  EXPECT_EQ(FirstCollapse(spec, {base}), "");
  EXPECT_EQ(FirstCollapse(spec, {base, Evaluation(0.41, 0.21)}), "");
  EXPECT_THAT(FirstCollapse(spec, {base, base, Evaluation(0.39, 0.4)}),
              HasSubstr("round 2 has collapsed: it scores 0.39, the base model 0.5"));
  EXPECT_THAT(FirstCollapse(spec, {base, Evaluation(0.9, 0.19)}), HasSubstr("look alike"));
  // A base whose pictures all look alike, as of one evaluation prompt, says nothing.
  EXPECT_EQ(FirstCollapse(spec, {Evaluation(0.5, 0), Evaluation(0.5, 0)}), "");
}

}  // namespace
}  // namespace rsidiff::coordinator
