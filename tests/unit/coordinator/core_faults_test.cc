#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/protocol.h"
#include "tests/unit/coordinator/core_harness.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

using ::testing::HasSubstr;

class CoreFaultsTest : public ::testing::Test {
 protected:
  void Submit(uint32_t rounds = 1) { harness_.Ok<v1::SubmitRunResponse>(SmallRun("submit", rounds)); }

  v1::RunStatus Run() { return harness_.GetRun(1); }

  v1::WorkerRecord FindWorker(const std::string& name) {
    auto list = harness_.Ok<v1::ListWorkersResponse>(v1::ListWorkersRequest());
    for (const v1::WorkerRecord& worker : list.workers()) {
      if (worker.name() == name) return worker;
    }
    return {};
  }

  v1::DrainWorkerRequest Drain(uint32_t deadline_seconds) {
    v1::DrainWorkerRequest request;
    request.set_request_id(harness_.RequestId());
    request.set_name("w");
    request.set_deadline_seconds(deadline_seconds);
    request.set_reason("maintenance");
    return request;
  }

  /// Passes time in steps in which the named worker beats.
  void PassBeating(absl::Duration duration, const std::string& name, uint64_t incarnation,
                   const std::vector<v1::Grant>& held) {
    for (absl::Time end = harness_.now() + duration; harness_.now() < end;) {
      harness_.Pass(absl::Seconds(5));
      harness_.Heartbeat(name, incarnation, held);
    }
  }

  CoreHarness harness_;
};

TEST_F(CoreFaultsTest, AnotherProtocolVersionIsRefused) {
  v1::RegisterRequest request;
  request.set_request_id("r");
  request.set_name("w");
  request.set_protocol_version(kProtocolVersion + 1);
  absl::Status status = harness_.Error(request);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat("worker w speaks protocol version ", kProtocolVersion + 1)));
}

TEST_F(CoreFaultsTest, RegisterTwiceWithOneRequestIdIsOneIncarnation) {
  v1::RegisterRequest request;
  request.set_request_id("r");
  request.set_name("w");
  request.set_protocol_version(kProtocolVersion);
  uint64_t first = harness_.Ok<v1::RegisterResponse>(request).incarnation();
  EXPECT_EQ(harness_.Ok<v1::RegisterResponse>(request).incarnation(), first);
  harness_.Restart();
  EXPECT_EQ(harness_.Ok<v1::RegisterResponse>(request).incarnation(), first);
  request.set_request_id("another process");
  EXPECT_GT(harness_.Ok<v1::RegisterResponse>(request).incarnation(), first);
}

TEST_F(CoreFaultsTest, NewerProcessOfANameFencesTheOlder) {
  Submit();
  uint64_t old = harness_.Register("w");
  std::vector<v1::Grant> held = harness_.Lease("w", old);
  uint64_t fresh = harness_.Register("w");
  EXPECT_EQ(harness_.Error(harness_.Completion("w", old, held[0])).code(), absl::StatusCode::kAborted);
  v1::HeartbeatRequest beat;
  beat.set_worker("w");
  beat.set_incarnation(old);
  EXPECT_EQ(harness_.Error(beat).code(), absl::StatusCode::kAborted);
  harness_.Work("w", fresh);
  EXPECT_EQ(Run().run().state(), v1::RUN_STATE_SUCCEEDED);
}

TEST_F(CoreFaultsTest, LeaseAgainGivesTheSameGrantAlsoAfterARestart) {
  Submit();
  uint64_t incarnation = harness_.Register("w");
  v1::LeaseRequest request = RequestForWork("lease", "w", incarnation);
  request.set_max_tasks(2);
  auto first = harness_.Ok<v1::LeaseResponse>(request);
  ASSERT_EQ(first.grants_size(), 2);
  EXPECT_EQ(harness_.Ok<v1::LeaseResponse>(request).SerializeAsString(), first.SerializeAsString());
  harness_.Restart();
  EXPECT_EQ(harness_.Ok<v1::LeaseResponse>(request).SerializeAsString(), first.SerializeAsString());
  EXPECT_EQ(FindWorker("w").held_size(), 2);
}

TEST_F(CoreFaultsTest, LongPollInFlightIsAnsweredOnceForBothCalls) {
  uint64_t incarnation = harness_.Register("w");
  v1::LeaseRequest request = RequestForWork("lease", "w", incarnation);
  request.set_wait_ms(10'000);
  EXPECT_FALSE(harness_.Call(request).has_value());
  uint64_t first = harness_.last_id();
  EXPECT_FALSE(harness_.Call(request).has_value());
  uint64_t second = harness_.last_id();
  Submit();
  auto one = std::get<v1::LeaseResponse>(*harness_.answers().at(first));
  auto two = std::get<v1::LeaseResponse>(*harness_.answers().at(second));
  ASSERT_EQ(one.grants_size(), 1);
  EXPECT_EQ(one.grants(0).token(), two.grants(0).token());
}

TEST_F(CoreFaultsTest, LongPollEndsEmptyHanded) {
  uint64_t incarnation = harness_.Register("w");
  v1::LeaseRequest request = RequestForWork("lease", "w", incarnation);
  request.set_wait_ms(3'000);
  EXPECT_FALSE(harness_.Call(request).has_value());
  uint64_t id = harness_.last_id();
  harness_.Pass(absl::Seconds(3));
  EXPECT_TRUE(std::get<v1::LeaseResponse>(*harness_.answers().at(id)).grants().empty());
}

TEST_F(CoreFaultsTest, CompleteTwiceIsOkAndAppliedOnce) {
  Submit();
  uint64_t incarnation = harness_.Register("w");
  std::vector<v1::Grant> held = harness_.Lease("w", incarnation);
  v1::CompleteRequest request = harness_.Completion("w", incarnation, held[0]);
  harness_.Ok<v1::CompleteResponse>(request);
  harness_.Ok<v1::CompleteResponse>(request);
  request.set_request_id("another id, the same digest");
  harness_.Ok<v1::CompleteResponse>(request);
  EXPECT_EQ(harness_.core().statistics().completions, 1);
  request.mutable_result()->mutable_generate()->set_latents(std::string(64, 'a'));
  EXPECT_EQ(harness_.Error(request).code(), absl::StatusCode::kAborted) << "another digest is no repetition";
}

TEST_F(CoreFaultsTest, ExpiredLeaseIsFencedAndRedone) {
  Submit();
  uint64_t incarnation = harness_.Register("w");
  std::vector<v1::Grant> held = harness_.Lease("w", incarnation);
  harness_.Pass(absl::Seconds(16));
  EXPECT_EQ(FindWorker("w").state(), v1::WORKER_STATE_LOST);
  EXPECT_EQ(harness_.Error(harness_.Completion("w", incarnation, held[0])).code(),
            absl::StatusCode::kNotFound);
  uint64_t again = harness_.Register("w");
  EXPECT_EQ(harness_.Error(harness_.Completion("w", again, held[0])).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(harness_.core().statistics().completions_fenced, 1);
  harness_.Work("w", again);
  EXPECT_EQ(Run().run().state(), v1::RUN_STATE_SUCCEEDED);
  EXPECT_TRUE(harness_.MemoryEqualsDisk());
}

TEST_F(CoreFaultsTest, GrantThatNeverArrivedExpiresAlthoughTheWorkerBeats) {
  Submit();
  uint64_t incarnation = harness_.Register("w");
  ASSERT_EQ(harness_.Lease("w", incarnation).size(), 1);
  PassBeating(absl::Seconds(20), "w", incarnation, {});
  EXPECT_EQ(FindWorker("w").held_size(), 0);
  EXPECT_EQ(FindWorker("w").state(), v1::WORKER_STATE_ACTIVE);
}

TEST_F(CoreFaultsTest, RestartKeepsReassertedLeases) {
  Submit();
  uint64_t incarnation = harness_.Register("w");
  std::vector<v1::Grant> held = harness_.Lease("w", incarnation, 2);
  ASSERT_EQ(held.size(), 2);
  harness_.Restart();
  harness_.Heartbeat("w", incarnation, {held[0]});
  PassBeating(absl::Seconds(35), "w", incarnation, {held[0]});
  v1::CompleteRequest kept = harness_.Completion("w", incarnation, held[0]);
  harness_.Ok<v1::CompleteResponse>(kept);
  EXPECT_EQ(harness_.Error(harness_.Completion("w", incarnation, held[1])).code(), absl::StatusCode::kAborted)
      << "the one that nobody asserted went back after the grace";
  EXPECT_EQ(harness_.core().statistics().leases_expired, 0) << "and costs nothing";
  EXPECT_TRUE(harness_.MemoryEqualsDisk());
}

TEST_F(CoreFaultsTest, TokensGrowOverRestarts) {
  Submit();
  uint64_t incarnation = harness_.Register("w");
  uint64_t before = harness_.Lease("w", incarnation)[0].token();
  harness_.Restart();
  EXPECT_GT(harness_.Lease("w", incarnation)[0].token(), before);
}

TEST_F(CoreFaultsTest, PoisonTaskFailsTheRunWithItsLastError) {
  Submit();
  uint64_t incarnation = harness_.Register("w");
  for (int i = 0; i < 100 && Run().run().state() == v1::RUN_STATE_ACTIVE; ++i) {
    for (const v1::Grant& grant : harness_.Lease("w", incarnation)) {
      v1::CompleteRequest request = harness_.Completion("w", incarnation, grant);
      if (grant.task().kind() == v1::TASK_KIND_SCORE) request.set_error("cannot read picture");
      harness_.Call(request);
    }
    harness_.Pass(absl::Milliseconds(500));
    harness_.Heartbeat("w", incarnation, {});
  }
  v1::RunStatus status = Run();
  EXPECT_EQ(status.run().state(), v1::RUN_STATE_FAILED);
  EXPECT_THAT(status.run().reason(), HasSubstr("failed 3 times, last: cannot read picture"));
  EXPECT_TRUE(harness_.MemoryEqualsDisk());
}

TEST_F(CoreFaultsTest, ResultThatCannotBeCostsTheErrorBudget) {
  Submit();
  uint64_t incarnation = harness_.Register("w");
  std::vector<v1::Grant> pictures = harness_.Lease("w", incarnation);
  v1::CompleteRequest bad = harness_.Completion("w", incarnation, pictures[0]);
  bad.mutable_result()->mutable_generate()->set_latents("../../etc/passwd");
  EXPECT_EQ(harness_.Error(bad).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Run().last_error(), HasSubstr("latents is not a SHA-256 digest"));
  harness_.Pass(absl::Seconds(2));

  pictures = harness_.Lease("w", incarnation);
  harness_.Ok<v1::CompleteResponse>(harness_.Completion("w", incarnation, pictures[0]));
  std::vector<v1::Grant> score = harness_.Lease("w", incarnation);
  ASSERT_EQ(score[0].task().kind(), v1::TASK_KIND_SCORE);
  bad = harness_.Completion("w", incarnation, score[0]);
  bad.mutable_result()->mutable_score()->mutable_columns(0)->set_scores(
      0, std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(harness_.Error(bad).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Run().last_error(), HasSubstr("score of a for sample 0 is not finite"));
  harness_.Pass(absl::Seconds(2));

  score = harness_.Lease("w", incarnation);
  bad = harness_.Completion("w", incarnation, score[0]);
  *bad.mutable_result() = FakeResult(pictures[0].payload());
  EXPECT_THAT(std::string(harness_.Error(bad).message()), HasSubstr("another kind"));
}

TEST_F(CoreFaultsTest, ReturnedTaskCostsNothing) {
  Submit();
  uint64_t incarnation = harness_.Register("w");
  for (int i = 0; i < 20; ++i) {
    std::vector<v1::Grant> held = harness_.Lease("w", incarnation);
    ASSERT_EQ(held.size(), 1);
    v1::CompleteRequest request = harness_.Completion("w", incarnation, held[0]);
    request.set_returned(true);
    harness_.Ok<v1::CompleteResponse>(request);
  }
  EXPECT_EQ(Run().run().state(), v1::RUN_STATE_ACTIVE);
  EXPECT_EQ(harness_.core().statistics().tasks_returned, 20);
}

TEST_F(CoreFaultsTest, IdleWorkerIsDrainedAtOnce) {
  uint64_t incarnation = harness_.Register("w");
  auto drained = harness_.Ok<v1::DrainWorkerResponse>(Drain(0));
  EXPECT_EQ(drained.worker().state(), v1::WORKER_STATE_DRAINED);
  EXPECT_TRUE(harness_.Heartbeat("w", incarnation, {}).draining());
  Submit();
  EXPECT_TRUE(harness_.Lease("w", incarnation).empty());
}

TEST_F(CoreFaultsTest, BusyWorkerFinishesGetsNothingNewAndARestartForgetsNothing) {
  Submit();
  uint64_t incarnation = harness_.Register("w");
  std::vector<v1::Grant> held = harness_.Lease("w", incarnation);
  EXPECT_EQ(harness_.Ok<v1::DrainWorkerResponse>(Drain(0)).worker().state(), v1::WORKER_STATE_DRAINING);
  harness_.Restart();
  EXPECT_TRUE(harness_.Heartbeat("w", incarnation, held).draining());
  EXPECT_TRUE(harness_.Lease("w", incarnation).empty());
  harness_.Ok<v1::CompleteResponse>(harness_.Completion("w", incarnation, held[0]));
  EXPECT_EQ(FindWorker("w").state(), v1::WORKER_STATE_DRAINED);
}

TEST_F(CoreFaultsTest, DrainDeadlineTakesTheTaskBack) {
  Submit();
  uint64_t incarnation = harness_.Register("w");
  std::vector<v1::Grant> held = harness_.Lease("w", incarnation);
  harness_.Ok<v1::DrainWorkerResponse>(Drain(10));
  harness_.Ok<v1::DrainWorkerResponse>(Drain(0));  // a SIGTERM meanwhile does not lift the deadline
  PassBeating(absl::Seconds(10), "w", incarnation, held);
  EXPECT_EQ(FindWorker("w").state(), v1::WORKER_STATE_DRAINED);
  EXPECT_EQ(harness_.Heartbeat("w", incarnation, held).dropped_tokens_size(), 1);
  EXPECT_EQ(Run().last_error(), "") << "a planned end is no error";
}

TEST_F(CoreFaultsTest, DrainDeadlineMovesWithNoClock) {
  Submit();
  uint64_t incarnation = harness_.Register("w");
  std::vector<v1::Grant> held = harness_.Lease("w", incarnation);
  harness_.Ok<v1::DrainWorkerResponse>(Drain(10));
  harness_.Pass(absl::Seconds(4));
  EXPECT_EQ(harness_.Heartbeat("w", incarnation, held).drain_left_ms(), 6'000);
  harness_.Restart(-absl::Minutes(30));
  EXPECT_EQ(harness_.Heartbeat("w", incarnation, held).drain_left_ms(), 10'000);
  EXPECT_TRUE(harness_.MemoryEqualsDisk());
  PassBeating(absl::Seconds(10), "w", incarnation, held);
  EXPECT_EQ(FindWorker("w").state(), v1::WORKER_STATE_DRAINED);
}

TEST(CoreGraceTest, GraceAfterARestartFollowsTheLeaseTime) {
  CoreHarness harness(absl::Seconds(3));
  harness.Ok<v1::SubmitRunResponse>(SmallRun("submit", 1));
  std::vector<v1::Grant> lost = harness.Lease("gone", harness.Register("gone"));
  ASSERT_EQ(lost.size(), 1u);
  harness.Restart();
  harness.Pass(absl::Seconds(5));
  auto state = [&] {
    v1::TaskRecord task;
    task.ParseFromString(harness.disk().at({Table::kTasks, TaskRowKey(TaskId::From(lost[0].task()))}));
    return task.state();
  };
  EXPECT_EQ(state(), v1::TASK_STATE_UNKNOWN);
  harness.Pass(absl::Seconds(1));
  EXPECT_EQ(state(), v1::TASK_STATE_PENDING);
}

TEST_F(CoreFaultsTest, NewerSchemaAndTornRowsAreRefused) {
  v1::MetaRecord meta;
  meta.set_schema_version(kSchemaVersion + 1);
  auto newer =
      Core::Recover({}, {{Table::kMeta, std::string(kMetaKey), meta.SerializeAsString()}}, absl::UnixEpoch());
  EXPECT_EQ(newer.status().code(), absl::StatusCode::kFailedPrecondition);
  auto torn = Core::Recover({}, {{Table::kRuns, RunKey(1), "\x0a\xff"}}, absl::UnixEpoch());
  EXPECT_EQ(torn.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(torn.status().message()), HasSubstr("table runs, key 0000000000000001"));
}

}  // namespace
}  // namespace rsidiff::coordinator
