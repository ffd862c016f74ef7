#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "absl/strings/str_split.h"
#include "tests/unit/coordinator/core_harness.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

using ::testing::HasSubstr;

TEST(CoreRunTest, OneWorkerTakesARunToItsEnd) {
  CoreHarness harness;
  uint64_t incarnation = harness.Register("w");
  uint64_t run_id = harness.Ok<v1::SubmitRunResponse>(SmallRun("submit", 2)).run_id();
  std::vector<v1::TaskKey> tasks = harness.Work("w", incarnation);
  // A round: 3 chunks twice, weight, train, evaluation of 1 chunk twice, measure; round 1 gathers moments
  // and fits the reference; round 0 is an evaluation.
  EXPECT_EQ(tasks.size(), 2 * (6 + 2 + 3) + 2 + 3);
  v1::RunStatus status = harness.GetRun(run_id);
  EXPECT_EQ(status.run().state(), v1::RUN_STATE_SUCCEEDED);
  EXPECT_THAT(status.run().reason(), HasSubstr("scores"));
  ASSERT_EQ(status.rounds_size(), 3);
  for (const v1::RoundRecord& round : status.rounds()) {
    EXPECT_EQ(round.phase(), v1::ROUND_PHASE_DONE);
    EXPECT_TRUE(round.evaluation().complete());
    EXPECT_EQ(round.evaluation().samples(), kSmallRunEvaluationSamples);
    EXPECT_EQ(round.evaluation().scores().size(), 3);
    if (round.round() == 0) continue;
    EXPECT_EQ(round.selection().samples(), kSmallRunTrainingSamples);
    EXPECT_EQ(round.selection().selected(), 2);
    EXPECT_EQ(round.selection().all().size(), 2) << "held-out scorers judge evaluations only";
    EXPECT_EQ(round.checkpoint().size(), 64);
    ASSERT_TRUE(harness.artifacts().count(round.manifest_parts(0)));
  }
  EXPECT_TRUE(harness.MemoryEqualsDisk());
}

TEST(CoreRunTest, ManifestHoldsSelectedSamplesAndReplay) {
  CoreHarness harness;
  uint64_t incarnation = harness.Register("w");
  uint64_t run_id = harness.Ok<v1::SubmitRunResponse>(SmallRun("submit", 2)).run_id();
  harness.Work("w", incarnation);
  v1::RunStatus status = harness.GetRun(run_id);
  std::vector<std::string> lines =
      absl::StrSplit(harness.artifacts().at(status.rounds(2).manifest_parts(0)), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 4);  // two of round 2, then two of round 1
  EXPECT_THAT(lines[0], HasSubstr("\"replay\":false"));
  EXPECT_THAT(lines[1], HasSubstr("\"replay\":false"));
  EXPECT_THAT(lines[2], HasSubstr("\"replay\":true"));
  EXPECT_THAT(lines[3], HasSubstr("\"replay\":true"));
  EXPECT_THAT(lines[0], HasSubstr("\"prompt\":\""));
}

TEST(CoreRunTest, BaseArmEvaluatesAndEnds) {
  CoreHarness harness;
  uint64_t incarnation = harness.Register("w");
  uint64_t run_id = harness.Ok<v1::SubmitRunResponse>(SmallRun("submit", 0)).run_id();
  EXPECT_EQ(harness.Work("w", incarnation).size(), 3);
  EXPECT_EQ(harness.GetRun(run_id).run().state(), v1::RUN_STATE_SUCCEEDED);
}

TEST(CoreRunTest, ResultsDoNotDependOnTheNumberOfWorkers) {
  auto checkpoints = [](int workers) {
    CoreHarness harness;
    std::vector<uint64_t> incarnations;
    for (int i = 0; i < workers; ++i) incarnations.push_back(harness.Register("w" + std::to_string(i)));
    uint64_t run_id = harness.Ok<v1::SubmitRunResponse>(SmallRun("submit", 2)).run_id();
    for (int turn = 0; harness.GetRun(run_id).run().state() == v1::RUN_STATE_ACTIVE && turn < 500; ++turn) {
      int worker = turn % workers;
      std::string name = "w" + std::to_string(worker);
      for (const v1::Grant& grant : harness.Lease(name, incarnations[worker])) {
        if (grant.task().kind() == v1::TASK_KIND_TRAIN) {
          harness.Call(harness.Join(name, incarnations[worker], grant));
          harness.Pass(absl::Seconds(3));
        }
        harness.Ok<v1::CompleteResponse>(harness.Completion(name, incarnations[worker], grant));
      }
      harness.Pass(absl::Milliseconds(400));
      for (int i = 0; i < workers; ++i) harness.Heartbeat("w" + std::to_string(i), incarnations[i], {});
    }
    std::vector<std::string> result;
    v1::RunStatus status = harness.GetRun(run_id);
    for (const v1::RoundRecord& round : status.rounds()) result.push_back(round.checkpoint());
    return result;
  };
  std::vector<std::string> one = checkpoints(1);
  ASSERT_EQ(one.size(), 3);
  EXPECT_EQ(one, checkpoints(2));
  EXPECT_EQ(one, checkpoints(5));
}

TEST(CoreRunTest, EvaluationAndNextSamplingRunSideBySide) {
  CoreHarness harness;
  uint64_t incarnation = harness.Register("w");
  harness.Ok<v1::SubmitRunResponse>(SmallRun("submit", 1));
  std::vector<v1::Grant> grants = harness.Lease("w", incarnation, 2);
  ASSERT_EQ(grants.size(), 2);
  EXPECT_EQ(grants[0].task().purpose(), v1::PURPOSE_EVALUATION);
  EXPECT_EQ(grants[1].task().purpose(), v1::PURPOSE_TRAINING);
}

TEST(CoreRunTest, EvaluationOfATrainedRoundRunsBesideTheNextOnesSampling) {
  CoreHarness harness;
  uint64_t incarnation = harness.Register("w");
  harness.Ok<v1::SubmitRunResponse>(SmallRun("submit", 2));
  for (bool trained = false; !trained;) {
    std::vector<v1::Grant> grants = harness.Lease("w", incarnation);
    ASSERT_EQ(grants.size(), 1);
    trained = grants[0].task().kind() == v1::TASK_KIND_TRAIN;
    if (trained) harness.Ok<v1::JoinTrainingResponse>(harness.Join("w", incarnation, grants[0]));
    harness.Ok<v1::CompleteResponse>(harness.Completion("w", incarnation, grants[0]));
  }
  std::vector<v1::Grant> grants = harness.Lease("w", incarnation, 2);
  ASSERT_EQ(grants.size(), 2);
  EXPECT_EQ(grants[0].task().purpose(), v1::PURPOSE_EVALUATION);
  EXPECT_EQ(grants[0].task().round(), 1);
  EXPECT_EQ(grants[1].task().purpose(), v1::PURPOSE_TRAINING);
  EXPECT_EQ(grants[1].task().round(), 2);
  EXPECT_EQ(grants[1].task().kind(), v1::TASK_KIND_GENERATE);
}

TEST(CoreRunTest, TwoRunsShareOneWorker) {
  CoreHarness harness;
  uint64_t incarnation = harness.Register("w");
  harness.Ok<v1::SubmitRunResponse>(SmallRun("first", 1));
  harness.Ok<v1::SubmitRunResponse>(SmallRun("second", 1));
  std::map<uint64_t, int> share;
  for (int i = 0; i < 8; ++i) {
    std::vector<v1::Grant> grants = harness.Lease("w", incarnation);
    ASSERT_EQ(grants.size(), 1);
    ++share[grants[0].task().run_id()];
    harness.Ok<v1::CompleteResponse>(harness.Completion("w", incarnation, grants[0]));
  }
  EXPECT_EQ(share[1], 4);
  EXPECT_EQ(share[2], 4);
}

TEST(CoreRunTest, GateThatRefusesEverythingFailsTheRunWithTheReason) {
  CoreHarness harness;
  uint64_t incarnation = harness.Register("w");
  v1::SubmitRunRequest request = SmallRun("submit", 1);
  request.mutable_spec()->mutable_selection()->set_gate(100);
  uint64_t run_id = harness.Ok<v1::SubmitRunResponse>(request).run_id();
  harness.Work("w", incarnation);
  v1::RunStatus status = harness.GetRun(run_id);
  EXPECT_EQ(status.run().state(), v1::RUN_STATE_FAILED);
  EXPECT_THAT(
      status.run().reason(),
      HasSubstr("round 1 has nothing to train on: selection.gate 100 refused the best samples of all 2 "
                "prompts; `rsidiff samples 1 --round 1 --json` shows each one's z"));
  EXPECT_TRUE(harness.MemoryEqualsDisk());
}

TEST(CoreRunTest, PauseStopsNewLeasesAndResumeGoesOn) {
  CoreHarness harness;
  uint64_t incarnation = harness.Register("w");
  uint64_t run_id = harness.Ok<v1::SubmitRunResponse>(SmallRun("submit", 1)).run_id();
  std::vector<v1::Grant> held = harness.Lease("w", incarnation);
  v1::SetRunStateRequest request;
  request.set_request_id("pause");
  request.set_run_id(run_id);
  request.set_state(v1::RUN_STATE_PAUSED);
  EXPECT_EQ(harness.Ok<v1::RunStatus>(request).run().state(), v1::RUN_STATE_PAUSED);
  EXPECT_TRUE(harness.Lease("w", incarnation).empty());
  harness.Ok<v1::CompleteResponse>(harness.Completion("w", incarnation, held[0]));
  request.set_request_id("resume");
  request.set_state(v1::RUN_STATE_ACTIVE);
  harness.Ok<v1::RunStatus>(request);
  harness.Work("w", incarnation);
  EXPECT_EQ(harness.GetRun(run_id).run().state(), v1::RUN_STATE_SUCCEEDED);
}

TEST(CoreRunTest, CancelDropsLeases) {
  CoreHarness harness;
  uint64_t incarnation = harness.Register("w");
  uint64_t run_id = harness.Ok<v1::SubmitRunResponse>(SmallRun("submit", 1)).run_id();
  std::vector<v1::Grant> held = harness.Lease("w", incarnation);
  v1::SetRunStateRequest request;
  request.set_request_id("cancel");
  request.set_run_id(run_id);
  request.set_state(v1::RUN_STATE_CANCELLED);
  harness.Ok<v1::RunStatus>(request);
  v1::HeartbeatResponse beat = harness.Heartbeat("w", incarnation, held);
  ASSERT_EQ(beat.dropped_tokens_size(), 1);
  EXPECT_EQ(beat.dropped_tokens(0), held[0].token());
  request.set_request_id("resume");
  request.set_state(v1::RUN_STATE_ACTIVE);
  EXPECT_EQ(harness.Error(request).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(harness.MemoryEqualsDisk());
}

TEST(CoreRunTest, ForkSharesRoundsAndGoesOn) {
  CoreHarness harness;
  uint64_t incarnation = harness.Register("w");
  uint64_t parent = harness.Ok<v1::SubmitRunResponse>(SmallRun("submit", 2)).run_id();
  harness.Work("w", incarnation);
  v1::ForkRunRequest request;
  request.set_request_id("fork");
  request.set_run_id(parent);
  request.set_from_round(1);
  request.set_rounds(3);
  uint64_t child = harness.Ok<v1::SubmitRunResponse>(ForkRun{request, {}}).run_id();
  EXPECT_EQ(harness.Ok<v1::SubmitRunResponse>(ForkRun{request, {}}).run_id(), child);
  EXPECT_TRUE(harness.MemoryEqualsDisk());
  harness.Restart();
  harness.Work("w", incarnation);
  v1::RunStatus before = harness.GetRun(parent);
  v1::RunStatus after = harness.GetRun(child);
  EXPECT_EQ(after.run().state(), v1::RUN_STATE_SUCCEEDED);
  EXPECT_EQ(after.run().forked_from(), parent);
  ASSERT_EQ(after.rounds_size(), 4);
  EXPECT_EQ(after.rounds(1).checkpoint(), before.rounds(1).checkpoint());
  EXPECT_EQ(after.rounds(2).checkpoint(), before.rounds(2).checkpoint()) << "same seeds, same replay";
  EXPECT_TRUE(harness.MemoryEqualsDisk());
  request.set_request_id("again");
  request.set_from_round(3);
  EXPECT_EQ(harness.Error(ForkRun{request, {}}).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(CoreRunTest, ForkOfAnEndedRunWithoutAllOfItsRowsIsTriedAgain) {
  CoreHarness harness;
  uint64_t incarnation = harness.Register("w");
  uint64_t parent = harness.Ok<v1::SubmitRunResponse>(SmallRun("submit", 2)).run_id();
  harness.Work("w", incarnation);
  ForkRun fork;
  fork.request.set_request_id("fork");
  fork.request.set_run_id(parent);
  fork.request.set_from_round(1);
  const std::vector<Row> all = ForkRows(harness.disk(), parent);
  // As if the last of them had not been written yet when they were read.
  for (Table missing : {Table::kPrompts, Table::kSamples}) {
    fork.parent.clear();
    for (const Row& row : all) {
      if (row.table != missing) fork.parent.push_back(row);
    }
    StepResult result = harness.core().Step(harness.now(), {1000, fork});
    ASSERT_EQ(result.replies.size(), 1);
    EXPECT_EQ(result.replies[0].response.status().code(), absl::StatusCode::kUnavailable);
    EXPECT_TRUE(harness.MemoryEqualsDisk());
  }
  harness.Ok<v1::SubmitRunResponse>(fork);
}

TEST(CoreRunTest, EndedRunKeepsNoMoreThanItsRecords) {
  for (bool cancel : {false, true}) {
    CoreHarness harness;
    uint64_t incarnation = harness.Register("w");
    uint64_t run_id = harness.Ok<v1::SubmitRunResponse>(SmallRun("submit", 2)).run_id();
    if (cancel) {
      std::vector<v1::Grant> held = harness.Lease("w", incarnation, 2);
      harness.Ok<v1::CompleteResponse>(harness.Completion("w", incarnation, held[0]));
      v1::SetRunStateRequest request;
      request.set_request_id("cancel");
      request.set_run_id(run_id);
      request.set_state(v1::RUN_STATE_CANCELLED);
      harness.Ok<v1::RunStatus>(request);
    } else {
      harness.Work("w", incarnation);
    }
    for (const Row& row : harness.core().Dump()) {
      EXPECT_NE(row.table, Table::kTasks);
      EXPECT_NE(row.table, Table::kPrompts);
      EXPECT_NE(row.table, Table::kSamples);
    }
    EXPECT_TRUE(harness.MemoryEqualsDisk());
    harness.Restart();
    EXPECT_TRUE(harness.MemoryEqualsDisk());
    EXPECT_EQ(harness.GetRun(run_id).rounds_size(), cancel ? 2 : 3);
  }
}

TEST(CoreRunTest, RunsThatEndedLongAgoAreCountedAndNotListed) {
  CoreHarness harness;
  uint64_t incarnation = harness.Register("w");
  harness.Ok<v1::SubmitRunResponse>(SmallRun("first", 1));
  harness.Work("w", incarnation);
  const int64_t ended_us = harness.GetRun(1).run().ended_us();
  harness.Ok<v1::SubmitRunResponse>(SmallRun("second", 1));
  v1::ListRunsRequest request;
  EXPECT_EQ(harness.Ok<v1::ListRunsResponse>(request).runs_size(), 2);
  request.set_ended_since_us(ended_us);
  EXPECT_EQ(harness.Ok<v1::ListRunsResponse>(request).runs_size(), 2);
  request.set_ended_since_us(ended_us + 1);
  v1::ListRunsResponse list = harness.Ok<v1::ListRunsResponse>(request);
  ASSERT_EQ(list.runs_size(), 1);
  EXPECT_EQ(list.runs(0).run().id(), 2);
  ASSERT_EQ(list.counts_size(), 2);
  EXPECT_EQ(list.counts(0).state(), v1::RUN_STATE_ACTIVE);
  EXPECT_EQ(list.counts(0).runs(), 1);
  EXPECT_EQ(list.counts(1).state(), v1::RUN_STATE_SUCCEEDED);
  EXPECT_EQ(list.counts(1).runs(), 1);
}

TEST(CoreRunTest, ListedRunsHaveNoListsThatGrowWithTheSamples) {
  CoreHarness harness;
  uint64_t incarnation = harness.Register("w");
  harness.Ok<v1::SubmitRunResponse>(SmallRun("submit", 1));
  harness.Work("w", incarnation);
  v1::RunStatus whole = harness.GetRun(1);
  EXPECT_EQ(whole.rounds(1).evaluation_features_size(), 1);
  EXPECT_EQ(whole.rounds(1).manifest_parts_size(), 1);
  v1::ListRunsResponse list = harness.Ok<v1::ListRunsResponse>(v1::ListRunsRequest());
  ASSERT_EQ(list.runs_size(), 1);
  for (v1::RoundRecord& round : *whole.mutable_rounds()) {
    round.clear_evaluation_features();
    round.clear_manifest_parts();
  }
  EXPECT_EQ(DeterministicBytes(list.runs(0)), DeterministicBytes(whole)) << "and everything else";
}

TEST(CoreRunTest, StopRuleEndsTheRunAndSaysSo) {
  CoreHarness harness;
  uint64_t incarnation = harness.Register("w");
  v1::SubmitRunRequest request = SmallRun("submit", 8);
  request.mutable_spec()->mutable_stop()->set_patience(1);
  uint64_t run_id = harness.Ok<v1::SubmitRunResponse>(request).run_id();
  harness.Work("w", incarnation);
  v1::RunStatus status = harness.GetRun(run_id);
  EXPECT_EQ(status.run().state(), v1::RUN_STATE_SUCCEEDED);
  EXPECT_THAT(status.run().reason(), HasSubstr("stopped after 1 round without a better one"));
  EXPECT_LT(status.rounds_size(), 9);
  EXPECT_EQ(status.rounds(status.rounds_size() - 1).phase(), v1::ROUND_PHASE_ABANDONED);
}

TEST(CoreRunTest, PromptsThatAreNotThereAreRefusedByName) {
  CoreHarness harness;
  harness.Ok<v1::SubmitRunResponse>(SmallRun("submit", 1));
  auto refusal = [&harness](auto damage) {
    auto disk = harness.disk();
    damage(disk);
    std::vector<Row> rows;
    for (const auto& [where, value] : disk) rows.push_back({where.first, where.second, value});
    absl::Status status = Core::Recover({}, std::move(rows), harness.now()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    return std::string(status.message());
  };
  EXPECT_THAT(refusal([](auto& disk) {
                std::string& value = disk.at({Table::kRuns, RunKey(1)});
                v1::RunRecord run;
                run.ParseFromString(value);
                run.set_train_prompt_count(4'294'967'295);
                value = run.SerializeAsString();
              }),
              HasSubstr("table prompts has 4 of the 4294967295 training prompts of run 1"));
  EXPECT_THAT(refusal([](auto& disk) {
                disk.erase({Table::kPrompts, PromptKey(1, PromptList::kTrain, 1)});
              }),
              HasSubstr("prompt 1 is missing"));
  EXPECT_THAT(refusal([](auto& disk) {
                disk.erase({Table::kPrompts, PromptKey(1, PromptList::kEvaluation, 1)});
              }),
              HasSubstr("table prompts has 1 of the 2 evaluation prompts of run 1"));
}

}  // namespace
}  // namespace rsidiff::coordinator
