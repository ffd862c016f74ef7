// Selection and weights, which the core makes a slice at a time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "common/base/digest.h"
#include "tests/unit/coordinator/core_harness.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

CoreOptions Slices(size_t samples) {
  CoreOptions options;
  options.slice_samples = samples;
  return options;
}

v1::SubmitRunRequest SubmitWeighing(v1::WeightMethod method) {
  v1::SubmitRunRequest request = SmallRun("submit", 2);
  request.mutable_spec()->mutable_weights()->set_method(method);
  request.mutable_spec()->mutable_weights()->set_ess_floor(0.95);
  return request;
}

/// What selection and weights leave behind: samples and rounds as they are on the disk, as text, in which
/// maps are sorted.
std::map<std::string, std::string> Results(const CoreHarness& harness) {
  std::map<std::string, std::string> results;
  for (const auto& [where, value] : harness.disk()) {
    v1::SampleRecord sample;
    if (where.first == Table::kSamples && sample.ParseFromString(value)) {
      results[where.second] = sample.DebugString();
    }
    if (where.first == Table::kJudgements) results["judgements " + where.second] = value;
    if (where.first != Table::kRounds) continue;
    v1::RoundRecord round;
    round.ParseFromString(value);
    std::string text = round.checkpoint() + round.selection().DebugString();
    for (const std::string& part : round.manifest_parts()) text += harness.artifacts().at(part);
    results["round " + std::to_string(round.round())] = text;
  }
  return results;
}

std::map<std::string, std::string> ResultsOfSlices(size_t samples, v1::WeightMethod method) {
  CoreHarness harness(Slices(samples));
  const uint64_t incarnation = harness.Register("w");
  harness.Ok<v1::SubmitRunResponse>(SubmitWeighing(method));
  harness.Work("w", incarnation);
  EXPECT_TRUE(harness.MemoryEqualsDisk());
  return Results(harness);
}

v1::RoundPhase PhaseOfRound(const CoreHarness& harness, uint32_t number) {
  v1::RoundRecord round;
  round.ParseFromString(harness.disk().at({Table::kRounds, RoundKey(1, number)}));
  return round.phase();
}

std::vector<std::string> EventsWith(const CoreHarness& harness, const std::string& text) {
  std::vector<std::string> events;
  for (const auto& [where, value] : harness.disk()) {
    v1::EventRecord event;
    if (where.first == Table::kEvents && event.ParseFromString(value) &&
        absl::StrContains(event.text(), text)) {
      events.push_back(event.text());
    }
  }
  return events;
}

/// Works until round 1 is in `phase` and a tick of it is due.
void WorkUntilDue(CoreHarness& harness, v1::RoundPhase phase) {
  const uint64_t incarnation = harness.Register("w");
  harness.Ok<v1::SubmitRunResponse>(SubmitWeighing(v1::WEIGHT_METHOD_GAUSSIAN));
  while (!(PhaseOfRound(harness, 1) == phase && harness.TickIsDue())) {
    if (harness.TickIsDue()) {
      harness.Tick();
      continue;
    }
    std::vector<v1::Grant> grants = harness.Lease("w", incarnation);
    ASSERT_FALSE(grants.empty());
    harness.CallOnly(harness.Completion("w", incarnation, grants[0]));
  }
}

bool Sound(const CoreHarness& harness) {
  const absl::Status status = harness.CheckDisk();
  EXPECT_TRUE(status.ok()) << status;
  return status.ok();
}

TEST(CoreReduceTest, ResultsDoNotDependOnTheSlices) {
  for (v1::WeightMethod method :
       {v1::WEIGHT_METHOD_GAUSSIAN, v1::WEIGHT_METHOD_PREFERENCE, v1::WEIGHT_METHOD_UNIFORM}) {
    const auto whole = ResultsOfSlices(1'000'000, method);
    EXPECT_EQ(ResultsOfSlices(1, method), whole);
    EXPECT_EQ(ResultsOfSlices(2, method), whole);
  }
}

TEST(CoreReduceTest, LeasesAreGrantedBetweenTheSlices) {
  CoreHarness harness(Slices(1));
  WorkUntilDue(harness, v1::ROUND_PHASE_SELECT);
  v1::LeaseRequest request = RequestForWork("between", "w", 1);
  // Another run has work meanwhile.
  v1::SubmitRunRequest other = SmallRun("other", 1);
  harness.CallOnly(other);
  auto answer = harness.CallOnly(request);
  ASSERT_TRUE(answer.has_value() && answer->ok());
  EXPECT_EQ(std::get<v1::LeaseResponse>(**answer).grants_size(), 1);
  EXPECT_EQ(PhaseOfRound(harness, 1), v1::ROUND_PHASE_SELECT);
  EXPECT_TRUE(harness.TickIsDue());
}

TEST(CoreReduceTest, RestartBetweenAnyTwoSlicesComesToTheSameEnd) {
  const auto whole = ResultsOfSlices(1'000'000, v1::WEIGHT_METHOD_GAUSSIAN);
  for (v1::RoundPhase phase : {v1::ROUND_PHASE_SELECT, v1::ROUND_PHASE_WEIGHT}) {
    int slices = 0;
    for (bool more = true; more; ++slices) {
      CoreHarness harness(Slices(1));
      WorkUntilDue(harness, phase);
      for (int i = 0; i < slices && PhaseOfRound(harness, 1) == phase; ++i) harness.Tick();
      more = PhaseOfRound(harness, 1) == phase;
      harness.Restart();
      EXPECT_TRUE(Sound(harness));
      EXPECT_TRUE(harness.MemoryEqualsDisk());
      harness.Work("w", harness.Register("w"));
      EXPECT_EQ(Results(harness), whole) << "after slice " << slices << " of phase " << phase;
      if (HasFailure()) return;
    }
    // Prompts of 3 samples, 8 scores of the 2 scorers' two passes: also the statistics are made in slices.
    EXPECT_GT(slices, phase == v1::ROUND_PHASE_SELECT ? 10 : 6) << "every sample was a slice";
  }
}

v1::SubmitRunRequest ManySamples(uint32_t rounds) {
  v1::SubmitRunRequest request = SmallRun("submit", rounds);
  request.mutable_spec()->mutable_sampling()->set_samples_per_prompt(900);
  request.mutable_spec()->mutable_sampling()->set_chunk(100);
  request.mutable_spec()->mutable_selection()->set_keep(600);
  return request;
}

// Rows of 1,024 judgements, which slices, prompts and blocks of distances begin and end within.
TEST(CoreReduceTest, JudgementsOfManySamplesAreKeptInBlocks) {
  std::map<std::string, std::string> whole;
  for (size_t slice : {1'000'000, 100, 1024}) {
    CoreHarness harness(Slices(slice));
    harness.Ok<v1::SubmitRunResponse>(ManySamples(2));
    harness.Work("w", harness.Register("w"));
    EXPECT_EQ(harness.GetRun(1).run().state(), v1::RUN_STATE_SUCCEEDED);
    const std::vector<v1::SampleRecord> samples = harness.Samples(1, 2);
    EXPECT_EQ(samples.size(), 1800);
    const auto kept =
        std::count_if(samples.begin(), samples.end(), [](const auto& s) { return s.selected(); });
    EXPECT_EQ(kept, harness.GetRun(1).rounds(2).selection().selected());
    EXPECT_EQ(kept,
              std::count_if(samples.begin(), samples.end(), [](const auto& s) { return s.weight() > 0; }));
    EXPECT_TRUE(Sound(harness));
    if (whole.empty()) whole = Results(harness);
    EXPECT_EQ(Results(harness), whole) << "slices of " << slice;
  }
  EXPECT_EQ(whole.count("judgements " + JudgementKey(1, 2, 1)), 1);
  EXPECT_EQ(whole.count("judgements " + JudgementKey(1, 2, 2)), 0);
}

TEST(CoreReduceTest, RestartWithManySamplesComesToTheSameEnd) {
  CoreHarness whole(Slices(1'000'000));
  whole.Ok<v1::SubmitRunResponse>(ManySamples(1));
  whole.Work("w", whole.Register("w"));
  for (v1::RoundPhase phase : {v1::ROUND_PHASE_SELECT, v1::ROUND_PHASE_WEIGHT}) {
    for (int slices : {0, 3, 9, 13}) {
      CoreHarness harness(Slices(300));
      const uint64_t incarnation = harness.Register("w");
      harness.Ok<v1::SubmitRunResponse>(ManySamples(1));
      while (PhaseOfRound(harness, 1) != phase) {
        harness.CallOnly(harness.Completion("w", incarnation, harness.Lease("w", incarnation).at(0)));
        while (harness.TickIsDue() && PhaseOfRound(harness, 1) != phase) harness.Tick();
      }
      for (int i = 0; i < slices; ++i) harness.Tick();
      harness.Restart();
      EXPECT_TRUE(harness.MemoryEqualsDisk());
      EXPECT_TRUE(Sound(harness));
      harness.Work("w", harness.Register("w"));
      EXPECT_EQ(Results(harness), Results(whole)) << "after slice " << slices << " of phase " << phase;
    }
  }
}

TEST(CoreReduceTest, LastTickOfTheWeightsNamesTheManifest) {
  CoreHarness harness(Slices(1));
  WorkUntilDue(harness, v1::ROUND_PHASE_WEIGHT);
  std::set<std::string> handed_over;
  bool named = false;
  while (PhaseOfRound(harness, 1) == v1::ROUND_PHASE_WEIGHT) {
    ASSERT_TRUE(harness.TickIsDue());
    named = harness.core().NextTickNamesArtifacts();
    const StepResult step = harness.TickWithResult();
    EXPECT_EQ(step.name_artifacts, named);
    EXPECT_TRUE(!named || step.artifacts.empty()) << "they can be stored before";
    for (const std::string& artifact : step.artifacts) handed_over.insert(Sha256Hex(artifact));
  }
  EXPECT_TRUE(named);
  v1::RoundRecord round;
  round.ParseFromString(harness.disk().at({Table::kRounds, RoundKey(1, 1)}));
  ASSERT_FALSE(round.manifest_parts().empty());
  for (const std::string& part : round.manifest_parts()) EXPECT_EQ(handed_over.count(part), 1);
}

/// Works until round 1's training is leased, which has kept some of 40 samples; what reports its end.
v1::CompleteRequest WorkUntilTrained(CoreHarness& harness) {
  const uint64_t incarnation = harness.Register("w");
  v1::SubmitRunRequest request = SubmitWeighing(v1::WEIGHT_METHOD_UNIFORM);
  request.mutable_spec()->mutable_sampling()->set_samples_per_prompt(20);
  request.mutable_spec()->mutable_selection()->set_keep(2);
  harness.Ok<v1::SubmitRunResponse>(request);
  while (true) {
    const v1::Grant grant = harness.Lease("w", incarnation).at(0);
    const v1::CompleteRequest done = harness.Completion("w", incarnation, grant);
    if (grant.task().kind() == v1::TASK_KIND_TRAIN) {
      harness.Ok<v1::JoinTrainingResponse>(harness.Join("w", incarnation, grant));
      return done;
    }
    harness.Ok<v1::CompleteResponse>(done);
  }
}

int TicksDue(CoreHarness& harness) {
  int ticks = 0;
  for (; harness.TickIsDue(); ++ticks) harness.Tick();
  return ticks;
}

TEST(CoreReduceTest, SamplesThatReplayDoesNotNeedAreDroppedInSlices) {
  CoreHarness harness(Slices(1));
  harness.CallOnly(WorkUntilTrained(harness));
  EXPECT_TRUE(harness.MemoryEqualsDisk());
  EXPECT_EQ(TicksDue(harness), 5) << "8 of the 40 samples a slice";
  EXPECT_TRUE(harness.MemoryEqualsDisk());
}

TEST(CoreReduceTest, RestartWhileSamplesAreDroppedComesToTheSameEnd) {
  CoreHarness whole(Slices(1'000'000));
  whole.Ok<v1::CompleteResponse>(WorkUntilTrained(whole));
  whole.Work("w", whole.Register("w"));
  for (int slices = 0; slices < 5; ++slices) {
    CoreHarness harness(Slices(1));
    harness.CallOnly(WorkUntilTrained(harness));
    for (int i = 0; i < slices; ++i) harness.Tick();
    harness.Restart();
    EXPECT_TRUE(Sound(harness));
    harness.Work("w", harness.Register("w"));
    EXPECT_EQ(Results(harness), Results(whole)) << "after slice " << slices;
  }
}

/// Makes the last call of round 1, without a tick.
void FinishRoundOne(CoreHarness& harness) {
  harness.CallOnly(WorkUntilTrained(harness));
  const uint64_t incarnation = harness.Register("w");
  while (PhaseOfRound(harness, 1) != v1::ROUND_PHASE_DONE) {
    auto leased = harness.CallOnly(RequestForWork(harness.RequestId(), "w", incarnation));
    ASSERT_TRUE(leased.has_value() && leased->ok());
    const v1::Grant grant = std::get<v1::LeaseResponse>(**leased).grants(0);
    harness.CallOnly(harness.Completion("w", incarnation, grant));
  }
}

TEST(CoreReduceTest, ForkTakesOverOnlyWhatReplayNeeds) {
  CoreHarness harness(Slices(1));
  FinishRoundOne(harness);
  EXPECT_TRUE(harness.TickIsDue()) << "the other samples are still to be dropped";
  v1::ForkRunRequest fork;
  fork.set_request_id("fork");
  fork.set_run_id(1);
  fork.set_from_round(1);
  harness.CallOnly(ForkRun{fork, {}});
  int copied = 0;
  for (const auto& [where, value] : harness.disk()) {
    copied += where.first == Table::kSamples && where.second.substr(0, 8) == RunKey(2);
  }
  EXPECT_EQ(copied, 4);
  EXPECT_TRUE(harness.MemoryEqualsDisk());
}

TEST(CoreReduceTest, RunThatEndsWhileSamplesAreDroppedDropsAll) {
  CoreHarness harness(Slices(1));
  harness.CallOnly(WorkUntilTrained(harness));
  v1::SetRunStateRequest cancel;
  cancel.set_request_id("cancel");
  cancel.set_run_id(1);
  cancel.set_state(v1::RUN_STATE_CANCELLED);
  harness.Ok<v1::RunStatus>(cancel);
  EXPECT_FALSE(harness.TickIsDue());
  EXPECT_TRUE(harness.MemoryEqualsDisk());
}

TEST(CoreReduceTest, LaterRoundsAreMeasuredByTheStatisticsOfRoundOne) {
  CoreHarness harness;
  const uint64_t incarnation = harness.Register("w");
  harness.Ok<v1::SubmitRunResponse>(SubmitWeighing(v1::WEIGHT_METHOD_UNIFORM));
  harness.Work("w", incarnation);
  const std::vector<v1::SampleRecord> base = harness.Samples(1, 1);
  const std::vector<v1::SampleRecord> later = harness.Samples(1, 2);
  ASSERT_EQ(base.size(), kSmallRunTrainingSamples);
  ASSERT_EQ(later.size(), kSmallRunTrainingSamples);
  for (const std::string scorer : {"a", "b"}) {
    double mean = 0, variance = 0, mean_z = 0;
    for (const auto& sample : base) mean += sample.scores().at(scorer) / kSmallRunTrainingSamples;
    for (const auto& sample : base) {
      variance += std::pow(sample.scores().at(scorer) - mean, 2) / kSmallRunTrainingSamples;
    }
    for (const auto& sample : later) {
      EXPECT_NEAR(sample.z().at(scorer), (sample.scores().at(scorer) - mean) / std::sqrt(variance), 1e-9);
      mean_z += sample.z().at(scorer) / kSmallRunTrainingSamples;
    }
    EXPECT_GT(std::abs(mean_z), 1e-3) << "measured by its own statistics it would be 0";
  }
}

// Works a run off with a worker whose `constant` scorers give 0.25 to everything.
v1::RunRecord WorkWithConstantScorers(CoreHarness& harness, const v1::SubmitRunRequest& request,
                                      const std::set<std::string>& constant) {
  const uint64_t incarnation = harness.Register("w");
  const uint64_t id = harness.Ok<v1::SubmitRunResponse>(request).run_id();
  for (auto grants = harness.Lease("w", incarnation); !grants.empty();
       grants = harness.Lease("w", incarnation)) {
    if (grants[0].task().kind() == v1::TASK_KIND_TRAIN)
      harness.Call(harness.Join("w", incarnation, grants[0]));
    v1::CompleteRequest complete = harness.Completion("w", incarnation, grants[0]);
    if (complete.result().has_score()) {
      for (auto& column : *complete.mutable_result()->mutable_score()->mutable_columns()) {
        if (constant.count(column.scorer()) == 0) continue;
        for (double& score : *column.mutable_scores()) score = 0.25;
      }
    }
    harness.Ok<v1::CompleteResponse>(complete);
  }
  EXPECT_TRUE(harness.MemoryEqualsDisk());
  return harness.GetRun(id).run();
}

std::vector<std::string> WarningTexts(const v1::RunRecord& run) {
  std::vector<std::string> texts;
  for (const v1::RunWarning& warning : run.warnings()) texts.push_back(warning.text());
  return texts;
}

TEST(CoreReduceTest, ScorerThatSaysTheSameOfEverythingIsNamed) {
  CoreHarness harness;
  const v1::RunRecord run =
      WorkWithConstantScorers(harness, SubmitWeighing(v1::WEIGHT_METHOD_UNIFORM), {"b"});
  EXPECT_EQ(run.state(), v1::RUN_STATE_SUCCEEDED);
  for (const auto& sample : harness.Samples(1, 1)) EXPECT_EQ(sample.z().at("b"), 0);
  const std::string told =
      "scorer b has no say in the selection: it gave 0.25 to each of round 1's 6 samples";
  EXPECT_THAT(WarningTexts(run), ElementsAre(told));
  EXPECT_THAT(EventsWith(harness, "has no say"), ElementsAre(told));
}

TEST(CoreReduceTest, RunThatHasNothingToSelectByFails) {
  CoreHarness harness;
  const v1::RunRecord run =
      WorkWithConstantScorers(harness, SubmitWeighing(v1::WEIGHT_METHOD_UNIFORM), {"a", "b"});
  EXPECT_EQ(run.state(), v1::RUN_STATE_FAILED);
  EXPECT_EQ(run.reason(),
            "round 1 has nothing to select by: each scorer gave the same to every sample: a gave 0.25, b "
            "gave 0.25");
}

TEST(CoreReduceTest, WhatKeepsEverySampleNeedsNoScorerThatTellsThemApart) {
  CoreHarness harness;
  v1::SubmitRunRequest request = SubmitWeighing(v1::WEIGHT_METHOD_UNIFORM);
  request.mutable_spec()->mutable_selection()->set_method(v1::SELECTION_METHOD_ALL);
  const v1::RunRecord run = WorkWithConstantScorers(harness, request, {"a", "b"});
  EXPECT_EQ(run.state(), v1::RUN_STATE_SUCCEEDED);
  EXPECT_EQ(run.warnings_size(), 2);
}

TEST(CoreReduceTest, HeldOutScorerThatCannotJudgeIsNamed) {
  CoreHarness harness;
  const v1::RunRecord run =
      WorkWithConstantScorers(harness, SubmitWeighing(v1::WEIGHT_METHOD_UNIFORM), {"h"});
  EXPECT_EQ(run.state(), v1::RUN_STATE_SUCCEEDED);
  EXPECT_EQ(run.best_round(), 0);
  ASSERT_EQ(run.warnings_size(), 1);
  EXPECT_EQ(run.warnings(0).round(), 0);
  EXPECT_THAT(run.warnings(0).text(), HasSubstr("held-out scorer h gave 0.25 to each of the base model's "));
}

TEST(CoreReduceTest, ForkTakesOverTheWarningsOfTheRoundsThatItShares) {
  CoreHarness harness;
  WorkWithConstantScorers(harness, SubmitWeighing(v1::WEIGHT_METHOD_UNIFORM), {"b"});
  v1::ForkRunRequest fork;
  fork.set_run_id(1);
  fork.set_rounds(2);
  fork.set_from_round(1);
  fork.set_request_id("later");
  EXPECT_EQ(
      harness.GetRun(harness.Ok<v1::SubmitRunResponse>(ForkRun{fork, {}}).run_id()).run().warnings_size(), 1);
  fork.set_from_round(0);
  fork.set_request_id("base");
  EXPECT_EQ(
      harness.GetRun(harness.Ok<v1::SubmitRunResponse>(ForkRun{fork, {}}).run_id()).run().warnings_size(), 0);
}

TEST(CoreReduceTest, CancelledRunStopsItsSelection) {
  CoreHarness harness(Slices(1));
  WorkUntilDue(harness, v1::ROUND_PHASE_SELECT);
  harness.Tick();
  v1::SetRunStateRequest cancel;
  cancel.set_request_id("cancel");
  cancel.set_run_id(1);
  cancel.set_state(v1::RUN_STATE_CANCELLED);
  harness.Ok<v1::RunStatus>(cancel);
  EXPECT_EQ(PhaseOfRound(harness, 1), v1::ROUND_PHASE_ABANDONED);
  EXPECT_FALSE(harness.TickIsDue());
  EXPECT_TRUE(harness.MemoryEqualsDisk());
}

}  // namespace
}  // namespace rsidiff::coordinator
