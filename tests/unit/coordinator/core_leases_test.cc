// Leases when callers vanish, the coordinator stalls, clocks jump, and budgets run out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/protocol.h"
#include "coordinator/schedule/retry.h"
#include "tests/unit/coordinator/core_harness.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

using ::testing::HasSubstr;

class CoreLeasesTest : public ::testing::Test {
 protected:
  void SetUp() override { incarnation_ = harness_.Register("w"); }

  void Submit() { harness_.Ok<v1::SubmitRunResponse>(SmallRun("submit", 1)); }

  v1::LeaseRequest Poll(const std::string& request_id) {
    v1::LeaseRequest request = RequestForWork(request_id, "w", incarnation_);
    request.set_wait_ms(20'000);
    return request;
  }

  v1::RunStatus Run(uint64_t id = 1) { return harness_.GetRun(id); }

  v1::WorkerRecord FindWorker(const std::string& name) {
    auto list = harness_.Ok<v1::ListWorkersResponse>(v1::ListWorkersRequest());
    for (const v1::WorkerRecord& worker : list.workers()) {
      if (worker.name() == name) return worker;
    }
    return {};
  }

  v1::RegisterRequest RegisterAgain(uint64_t incarnation) {
    v1::RegisterRequest request;
    request.set_request_id(harness_.RequestId());
    request.set_name("w");
    request.set_protocol_version(kProtocolVersion);
    request.set_incarnation(incarnation);
    return request;
  }

  v1::DrainWorkerRequest Drain() {
    v1::DrainWorkerRequest request;
    request.set_request_id(harness_.RequestId());
    request.set_name("w");
    return request;
  }

  v1::TaskRecord StoredTask(const v1::TaskKey& key) {
    v1::TaskRecord record;
    record.ParseFromString(harness_.disk().at({Table::kTasks, TaskRowKey(TaskId::From(key))}));
    return record;
  }

  CoreHarness harness_;
  uint64_t incarnation_ = 0;
};

TEST_F(CoreLeasesTest, PollOfAVanishedCallerGetsNothing) {
  EXPECT_FALSE(harness_.Call(Poll("poll")).has_value());
  uint64_t call = harness_.last_id();
  harness_.Call(Cancelled{call});
  Submit();
  EXPECT_EQ(harness_.answers().count(call), 0);
  EXPECT_EQ(harness_.core().statistics().leases_granted, 0);
}

TEST_F(CoreLeasesTest, PollGoesOnForTheCallThatStillWaits) {
  harness_.Call(Poll("poll"));
  uint64_t gone = harness_.last_id();
  harness_.Call(Poll("poll"));
  uint64_t waits = harness_.last_id();
  harness_.Call(Cancelled{gone});
  Submit();
  EXPECT_EQ(std::get<v1::LeaseResponse>(*harness_.answers().at(waits)).grants_size(), 1);
}

TEST_F(CoreLeasesTest, GrantThatCannotBeDeliveredGoesBackAtOnceAndCostsNothing) {
  Submit();
  v1::LeaseResponse lost = harness_.Ok<v1::LeaseResponse>(Poll("poll"));
  harness_.Call(Cancelled{harness_.last_id()});
  v1::TaskRecord task = StoredTask(lost.grants(0).task());
  EXPECT_EQ(task.state(), v1::TASK_STATE_PENDING);
  EXPECT_EQ(task.lost_attempts(), 0);
  v1::LeaseResponse again = harness_.Ok<v1::LeaseResponse>(Poll("poll"));
  ASSERT_EQ(again.grants_size(), 1) << "the same request is served anew";
  EXPECT_GT(again.grants(0).token(), lost.grants(0).token());
  EXPECT_EQ(harness_.Error(harness_.Completion("w", incarnation_, lost.grants(0))).code(),
            absl::StatusCode::kAborted);
  EXPECT_TRUE(harness_.MemoryEqualsDisk());
}

TEST_F(CoreLeasesTest, GrantIsKeptIfAnotherCallGotItToo) {
  Submit();
  v1::LeaseResponse first = harness_.Ok<v1::LeaseResponse>(Poll("poll"));
  uint64_t gone = harness_.last_id();
  harness_.Ok<v1::LeaseResponse>(Poll("poll"));
  harness_.Call(Cancelled{gone});
  harness_.Ok<v1::CompleteResponse>(harness_.Completion("w", incarnation_, first.grants(0)));
}

TEST_F(CoreLeasesTest, GrantIsKeptOnceTheWorkerHasNamedIt) {
  Submit();
  v1::LeaseResponse granted = harness_.Ok<v1::LeaseResponse>(Poll("poll"));
  uint64_t call = harness_.last_id();
  harness_.Heartbeat("w", incarnation_, {granted.grants(0)});
  harness_.Call(Cancelled{call});
  harness_.Ok<v1::CompleteResponse>(harness_.Completion("w", incarnation_, granted.grants(0)));
}

TEST_F(CoreLeasesTest, StallOfTheCoordinatorCostsNoLease) {
  Submit();
  std::vector<v1::Grant> held = harness_.Lease("w", incarnation_);
  harness_.Pass(absl::Seconds(4));
  harness_.Stall(absl::Minutes(5));
  harness_.Call(Tick());  // the first thing that happens on waking
  EXPECT_EQ(FindWorker("w").state(), v1::WORKER_STATE_ACTIVE);
  EXPECT_EQ(harness_.Heartbeat("w", incarnation_, held).dropped_tokens_size(), 0);
  harness_.Ok<v1::CompleteResponse>(harness_.Completion("w", incarnation_, held[0]));
}

TEST_F(CoreLeasesTest, StallGivesADeadWorkerNoMoreThanItsLease) {
  Submit();
  harness_.Lease("w", incarnation_);
  harness_.Pass(absl::Seconds(4));
  harness_.Stall(absl::Minutes(5));
  harness_.Call(Tick());
  harness_.Pass(absl::Seconds(10));
  EXPECT_EQ(FindWorker("w").state(), v1::WORKER_STATE_ACTIVE);
  harness_.Pass(absl::Seconds(2));
  EXPECT_EQ(FindWorker("w").state(), v1::WORKER_STATE_LOST);
}

TEST_F(CoreLeasesTest, DrainedProcessThatRegistersAgainStaysDrained) {
  harness_.Ok<v1::DrainWorkerResponse>(Drain());
  Submit();
  EXPECT_EQ(harness_.Ok<v1::RegisterResponse>(RegisterAgain(incarnation_)).incarnation(), incarnation_);
  EXPECT_TRUE(harness_.Heartbeat("w", incarnation_, {}).draining());
  EXPECT_TRUE(harness_.Lease("w", incarnation_).empty());
  uint64_t fresh = harness_.Register("w");
  EXPECT_EQ(harness_.Lease("w", fresh).size(), 1) << "a new process of the name is welcome";
}

TEST_F(CoreLeasesTest, DrainIsKeptByAProcessThatWasLostMeanwhile) {
  Submit();
  std::vector<v1::Grant> held = harness_.Lease("w", incarnation_);
  harness_.Ok<v1::DrainWorkerResponse>(Drain());
  harness_.Pass(absl::Seconds(16));
  ASSERT_EQ(FindWorker("w").state(), v1::WORKER_STATE_LOST);
  harness_.Restart();
  uint64_t incarnation = harness_.Ok<v1::RegisterResponse>(RegisterAgain(incarnation_)).incarnation();
  EXPECT_TRUE(harness_.Heartbeat("w", incarnation, {}).draining());
  EXPECT_EQ(FindWorker("w").state(), v1::WORKER_STATE_DRAINED);
}

TEST_F(CoreLeasesTest, WorkersThatAreGoneAreForgottenAfterADay) {
  harness_.Register("other");
  harness_.Ok<v1::DrainWorkerResponse>(Drain());
  harness_.Pass(absl::Hours(12));
  EXPECT_EQ(FindWorker("other").state(), v1::WORKER_STATE_LOST);
  harness_.Restart();
  harness_.Pass(absl::Hours(12) - absl::Seconds(10));
  EXPECT_EQ(FindWorker("w").state(), v1::WORKER_STATE_DRAINED) << "a restart does not count as being seen";
  harness_.Pass(absl::Seconds(11));
  EXPECT_EQ(FindWorker("w").name(), "");
  EXPECT_TRUE(harness_.MemoryEqualsDisk());
  EXPECT_GT(harness_.Ok<v1::RegisterResponse>(RegisterAgain(incarnation_)).incarnation(), incarnation_);
}

TEST_F(CoreLeasesTest, ClockThatWasSetBackProlongsNoBackOff) {
  Submit();
  v1::Grant failing = harness_.Lease("w", incarnation_)[0];
  for (int i = 0; i < 2; ++i) {
    v1::CompleteRequest error = harness_.Completion("w", incarnation_, failing);
    error.set_error("out of memory");
    harness_.Ok<v1::CompleteResponse>(error);
    if (i == 1) break;
    harness_.Pass(absl::Seconds(2));
    harness_.Heartbeat("w", incarnation_, {});
    failing = harness_.Lease("w", incarnation_)[0];
  }
  harness_.Restart(-absl::Hours(30));
  for (int i = 0; i < 14; ++i) {
    harness_.Pass(absl::Seconds(5));
    harness_.Heartbeat("w", incarnation_, {});
  }
  EXPECT_EQ(harness_.Lease("w", incarnation_, 64).size(), 4) << "the failed task is among them";
}

TEST_F(CoreLeasesTest, ClockThatWasSetForwardForgetsNoRequest) {
  Submit();
  v1::LeaseResponse granted = harness_.Ok<v1::LeaseResponse>(Poll("poll"));
  harness_.Restart(absl::Hours(30));
  EXPECT_EQ(harness_.Ok<v1::LeaseResponse>(Poll("poll")).SerializeAsString(), granted.SerializeAsString());
}

TEST_F(CoreLeasesTest, LostWorkersCostTheirOwnBudget) {
  Submit();
  v1::TaskKey task;
  for (int life = 0; life < 10; ++life) {
    incarnation_ = harness_.Register("w");  // the process before is replaced with its lease
    harness_.Pass(absl::Minutes(1));        // and the back-off is over
    incarnation_ = harness_.Register("w");
    if (Run().run().state() != v1::RUN_STATE_ACTIVE) break;
    std::vector<v1::Grant> held = harness_.Lease("w", incarnation_);
    ASSERT_EQ(held.size(), 1) << life;
    if (life == 0) task = held[0].task();
    EXPECT_EQ(StoredTask(task).lost_attempts(), life);
    EXPECT_EQ(StoredTask(task).error_attempts(), 0);
  }
  harness_.Register("w");
  EXPECT_EQ(Run().run().state(), v1::RUN_STATE_FAILED);
  EXPECT_THAT(Run().run().reason(), HasSubstr("failed 10 times, last: the worker's process was replaced"));
}

TEST_F(CoreLeasesTest, PoisonTaskFailsItsRunAndOtherRunsGoOn) {
  Submit();
  v1::SubmitRunRequest other = SmallRun("other", 1);
  other.mutable_spec()->set_seed(8);
  harness_.Ok<v1::SubmitRunResponse>(other);
  int attempts = 0;
  for (int i = 0; i < 400 && Run(2).run().state() == v1::RUN_STATE_ACTIVE; ++i) {
    for (const v1::Grant& grant : harness_.Lease("w", incarnation_)) {
      bool poison = grant.task().run_id() == 1 && grant.task().kind() == v1::TASK_KIND_SCORE;
      attempts += poison;
      if (grant.task().kind() == v1::TASK_KIND_TRAIN) harness_.Call(harness_.Join("w", incarnation_, grant));
      v1::CompleteRequest request = harness_.Completion("w", incarnation_, grant);
      if (poison) request.set_error("cannot read picture");
      harness_.Ok<v1::CompleteResponse>(request);
    }
    harness_.Pass(absl::Milliseconds(500));
    harness_.Heartbeat("w", incarnation_, {});
  }
  EXPECT_EQ(Run(2).run().state(), v1::RUN_STATE_SUCCEEDED);
  EXPECT_EQ(Run(1).run().state(), v1::RUN_STATE_FAILED);
  EXPECT_THAT(Run(1).run().reason(), HasSubstr("failed 3 times, last: cannot read picture"));
  EXPECT_GE(attempts, 3);
}

TEST_F(CoreLeasesTest, BackOffStaysWithinItsJitter) {
  Submit();
  std::vector<v1::Grant> held = harness_.Lease("w", incarnation_);
  v1::CompleteRequest error = harness_.Completion("w", incarnation_, held[0]);
  error.set_error("out of memory");
  harness_.Ok<v1::CompleteResponse>(error);
  int64_t wait = StoredTask(held[0].task()).not_before_us() - absl::ToUnixMicros(harness_.now());
  EXPECT_GE(wait, 0);
  EXPECT_LT(wait, 1'000'000);
  for (uint32_t attempt = 1; attempt < 20; ++attempt) {
    absl::Duration limit = std::min(kMaxBackoff, absl::Seconds(1) * (1 << std::min(attempt - 1, 6u)));
    EXPECT_LT(Backoff(attempt, 42), limit);
  }
  EXPECT_NE(Backoff(5, 1), Backoff(5, 2)) << "tasks that failed together do not come back together";
}

TEST_F(CoreLeasesTest, ScoresWaitForTheWorkerThatHasThePicturesUntilItLeaves) {
  for (bool replaced : {false, true}) {
    CoreHarness harness;
    const uint64_t maker = harness.Register("maker");
    const uint64_t other = harness.Register("other");
    harness.Ok<v1::SubmitRunResponse>(SmallRun("submit", 0));
    std::vector<v1::Grant> pictures = harness.Lease("maker", maker);
    ASSERT_EQ(pictures.size(), 1);
    v1::LeaseRequest poll = RequestForWork("poll", "other", other);
    poll.set_wait_ms(20'000);
    EXPECT_FALSE(harness.Call(poll).has_value());
    const uint64_t waits = harness.last_id();
    harness.Ok<v1::CompleteResponse>(harness.Completion("maker", maker, pictures[0]));
    EXPECT_EQ(harness.answers().count(waits), 0) << "the maker is to score its own pictures";
    if (replaced) {
      harness.Register("maker");
    } else {
      v1::DrainWorkerRequest drain;
      drain.set_request_id("drain");
      drain.set_name("maker");
      harness.Ok<v1::DrainWorkerResponse>(drain);
    }
    ASSERT_EQ(harness.answers().count(waits), 1) << "nobody has the pictures in memory any more";
    auto leased = std::get<v1::LeaseResponse>(*harness.answers().at(waits));
    ASSERT_EQ(leased.grants_size(), 1);
    EXPECT_EQ(leased.grants(0).task().kind(), v1::TASK_KIND_SCORE);
  }
}

TEST_F(CoreLeasesTest, WaitingWorkersAreServedInTheOrderOfTheirCalls) {
  std::vector<uint64_t> waiting;
  for (int i = 0; i < 5; ++i) {
    const std::string name = "worker-" + std::to_string(9 - i);
    v1::LeaseRequest poll = Poll("poll-" + name);
    poll.set_worker(name);
    poll.set_incarnation(harness_.Register(name));
    EXPECT_FALSE(harness_.Call(poll).has_value());
    waiting.push_back(harness_.last_id());
  }
  Submit();  // four tasks are ready
  for (int i = 0; i < 5; ++i) EXPECT_EQ(harness_.answers().count(waiting[i]), i < 4 ? 1 : 0) << i;
  harness_.Pass(absl::Seconds(20));
  ASSERT_EQ(harness_.answers().count(waiting[4]), 1);
}

}  // namespace
}  // namespace rsidiff::coordinator
