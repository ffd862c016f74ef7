// Forks: what they share with their parent, what they may change, and that they get their own chance.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "tests/unit/coordinator/core_harness.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

using ::testing::HasSubstr;

class CoreForkTest : public ::testing::Test {
 protected:
  void SetUp() override { incarnation_ = harness_.Register("w"); }

  v1::RunStatus Finish(const v1::SubmitRunRequest& submission) {
    const uint64_t id = harness_.Ok<v1::SubmitRunResponse>(submission).run_id();
    harness_.Work("w", incarnation_);
    return harness_.GetRun(id);
  }

  v1::ForkRunRequest Request(uint64_t parent, uint32_t from_round) {
    harness_.Pass(absl::Seconds(1));  // shared rounds are told by having begun before the fork
    v1::ForkRunRequest request;
    request.set_request_id(harness_.RequestId());
    request.set_run_id(parent);
    request.set_from_round(from_round);
    return request;
  }

  uint64_t Fork(const v1::ForkRunRequest& request) {
    return harness_.Ok<v1::SubmitRunResponse>(ForkRun{request, {}}).run_id();
  }

  std::vector<uint64_t> Seeds(uint64_t run_id, uint32_t round) {
    const std::string prefix = SamplePrefix(run_id, round, v1::PURPOSE_TRAINING);
    std::vector<uint64_t> seeds;
    for (const auto& [where, value] : harness_.disk()) {
      if (where.first != Table::kSamples || where.second.compare(0, prefix.size(), prefix) != 0) continue;
      v1::SampleRecord sample;
      sample.ParseFromString(value);
      seeds.push_back(sample.seed());
    }
    return seeds;
  }

  void ExpectSound() {
    EXPECT_TRUE(harness_.MemoryEqualsDisk());
    EXPECT_TRUE(harness_.CheckDisk().ok()) << harness_.CheckDisk();
  }

  CoreHarness harness_;
  uint64_t incarnation_ = 0;
};

TEST_F(CoreForkTest, AForkOfAStoppedRunGoesOnUntilItsOwnRoundsAreNoBetter) {
  v1::SubmitRunRequest submission = SmallRun("submit", 10);
  submission.mutable_spec()->mutable_stop()->set_patience(2);
  const v1::RunStatus parent = Finish(submission);
  ASSERT_THAT(parent.run().reason(), HasSubstr("; stopped after 2 rounds without a better one"));
  const uint32_t last = parent.run().best_round() + 2;
  v1::ForkRunRequest request = Request(parent.run().id(), last);
  request.set_rounds(30);
  const uint64_t fork = Fork(request);
  EXPECT_EQ(harness_.GetRun(fork).run().state(), v1::RUN_STATE_ACTIVE);
  EXPECT_EQ(harness_.GetRun(fork).run().newest_round(), last + 1);
  EXPECT_EQ(harness_.GetRun(fork).run().forked_round(), last);
  ExpectSound();
  harness_.Restart();
  EXPECT_EQ(harness_.GetRun(fork).run().state(), v1::RUN_STATE_ACTIVE);
  harness_.Work("w", incarnation_);
  const v1::RunStatus run = harness_.GetRun(fork);
  EXPECT_EQ(run.run().state(), v1::RUN_STATE_SUCCEEDED);
  EXPECT_THAT(run.run().reason(), HasSubstr("; stopped after 2 rounds without a better one"));
  EXPECT_GE(run.run().newest_round(), last + 2);
  ExpectSound();
}

TEST_F(CoreForkTest, AnotherSeedDrawsOtherSamplesAndTheSameSeedTheSame) {
  v1::SubmitRunRequest submission = SmallRun("submit", 2);
  submission.mutable_spec()->mutable_evaluation()->set_seed(7);
  const v1::RunStatus parent = Finish(submission);
  const uint64_t same = Fork(Request(parent.run().id(), 1));
  v1::ForkRunRequest request = Request(parent.run().id(), 1);
  *request.mutable_spec() = parent.run().spec();
  request.mutable_spec()->set_seed(8);
  request.mutable_spec()->mutable_train()->set_learning_rate(0.5);
  const uint64_t other = Fork(request);
  ExpectSound();
  harness_.Work("w", incarnation_);
  EXPECT_EQ(Seeds(same, 2), Seeds(parent.run().id(), 2));
  EXPECT_EQ(Seeds(other, 2).size(), Seeds(same, 2).size());
  EXPECT_NE(Seeds(other, 2), Seeds(same, 2));
  const v1::RunStatus run = harness_.GetRun(other);
  EXPECT_EQ(run.run().spec().seed(), 8u);
  EXPECT_EQ(run.run().spec().train().learning_rate(), 0.5);
  EXPECT_EQ(run.rounds(1).checkpoint(), parent.rounds(1).checkpoint());
  EXPECT_EQ(harness_.GetRun(same).rounds(2).checkpoint(), parent.rounds(2).checkpoint());
  EXPECT_NE(run.rounds(2).checkpoint(), parent.rounds(2).checkpoint());
  ExpectSound();
}

TEST_F(CoreForkTest, AForkThatDoesNotReplayCopiesNoSamples) {
  const v1::RunStatus parent = Finish(SmallRun("submit", 2));
  ASSERT_GT(parent.run().spec().train().replay(), 0);
  v1::ForkRunRequest request = Request(parent.run().id(), 1);
  *request.mutable_spec() = parent.run().spec();
  request.mutable_spec()->mutable_train()->set_replay(0);
  const uint64_t fork = Fork(request);
  EXPECT_TRUE(Seeds(fork, 1).empty());
  ExpectSound();
  harness_.Restart();
  harness_.Work("w", incarnation_);
  EXPECT_EQ(harness_.GetRun(fork).run().state(), v1::RUN_STATE_SUCCEEDED);
  ExpectSound();
}

TEST_F(CoreForkTest, SharedRoundsKeepTheirStartWhereTheForkNeverRollsBack) {
  v1::SubmitRunRequest submission = SmallRun("submit", 6);
  submission.mutable_spec()->mutable_stop()->set_roll_back_after(1);
  const v1::RunStatus parent = Finish(submission);
  v1::ForkRunRequest request = Request(parent.run().id(), 5);
  *request.mutable_spec() = parent.run().spec();
  request.mutable_spec()->mutable_stop()->set_roll_back_after(0);
  const uint64_t fork = Fork(request);
  harness_.Restart();
  const v1::RunStatus run = harness_.GetRun(fork);
  int rolled_back = 0;
  for (int round = 1; round <= 5; ++round) {
    EXPECT_EQ(run.rounds(round).starts_from(), parent.rounds(round).starts_from()) << "round " << round;
    rolled_back += parent.rounds(round).starts_from() + 1 != static_cast<uint32_t>(round);
  }
  EXPECT_GT(rolled_back, 0);
  EXPECT_EQ(run.rounds(6).starts_from(), 5u);
}

TEST_F(CoreForkTest, AChangeOfWhatSharedRoundsWereMadeWithIsRefused) {
  const v1::RunStatus parent = Finish(SmallRun("submit", 2));
  v1::ForkRunRequest request = Request(parent.run().id(), 1);
  *request.mutable_spec() = parent.run().spec();
  request.mutable_spec()->mutable_evaluation()->set_seed(3);
  const absl::Status refused = harness_.Error(ForkRun{request, {}});
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("evaluation.seed"));
  EXPECT_EQ(harness_.Ok<v1::ListRunsResponse>(v1::ListRunsRequest()).runs_size(), 1);
}

TEST_F(CoreForkTest, WhatAnEndedParentLacksIsNamedAndAskedForAgain) {
  const v1::RunStatus parent = Finish(SmallRun("submit", 2));
  ASSERT_GT(parent.run().spec().train().replay(), 0);
  const v1::ForkRunRequest request = Request(parent.run().id(), 1);
  // The harness gives the rows of its disk: so these calls pass it by.
  auto error = [&](std::vector<Row> rows) {
    const StepResult result =
        harness_.core().Step(harness_.now(), {1'000'000, ForkRun{request, std::move(rows)}});
    return result.replies.empty() ? absl::UnknownError("no answer") : result.replies[0].response.status();
  };
  const std::vector<Row> rows = ForkRows(harness_.disk(), parent.run().id());
  const std::string key = JudgementKey(parent.run().id(), 1, 0);
  std::vector<Row> bad = rows;
  for (Row& row : bad) {
    if (row.table == Table::kJudgements && row.key == key) row.value = "x";
  }
  const absl::Status damaged = error(bad);
  EXPECT_EQ(damaged.code(), absl::StatusCode::kUnavailable) << damaged;
  EXPECT_THAT(std::string(damaged.message()),
              HasSubstr("table judgements, key " + absl::BytesToHexString(key)));
  std::vector<Row> few = rows;
  few.erase(few.begin());
  const absl::Status fewer = error(few);
  EXPECT_EQ(fewer.code(), absl::StatusCode::kUnavailable) << fewer;
  EXPECT_THAT(std::string(fewer.message()), HasSubstr("table prompts"));
  EXPECT_EQ(error({}).code(), absl::StatusCode::kUnavailable);
  ExpectSound();
  const uint64_t fork = Fork(request);
  harness_.Work("w", incarnation_);
  EXPECT_EQ(harness_.GetRun(fork).run().state(), v1::RUN_STATE_SUCCEEDED);
  ExpectSound();
}

}  // namespace
}  // namespace rsidiff::coordinator
