#include "worker/agent/running_task.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/unit/worker/agent/fake_coordinator.h"

namespace rsidiff::worker {
namespace {

class RunningTaskTest : public ::testing::Test {
 protected:
  RunningTaskTest() {
    v1::Grant grant;
    grant.set_token(9);
    grant.mutable_task()->set_kind(v1::TASK_KIND_TRAIN);
    lease_ = leases_.Add(grant);
    session_.Start();
    EXPECT_TRUE(coordinator_.Await([](const auto& view) { return !view.registrations.empty(); }));
  }

  const std::string name_ = "w1";
  FakeCoordinator coordinator_;
  CoordinatorClient client_{OpenChannel(coordinator_.address())};
  LeaseTable leases_;
  WorkerMetrics metrics_{[] { return uint64_t{0}; }};
  Session session_{{name_, {}, absl::Seconds(5)}, client_, leases_, [](const Session::State&) {}};
  absl::Notification stop_;
  std::shared_ptr<Lease> lease_;
  RunningTask MakeTask() {
    return RunningTask(lease_, {name_, client_, session_, metrics_, stop_, [] {}});
  }
};

TEST_F(RunningTaskTest, JoinWaitsForAGenerationAndSettlesTheRegroup) {
  RunningTask task = MakeTask();
  lease_->SetRegroup(0, true);
  coordinator_.Refuse("JoinTraining", 2, grpc::StatusCode::UNAVAILABLE);
  coordinator_.SetGeneration(3);
  TrainingPosition position;
  position.store_address = "127.0.0.1:1";
  auto joined = task.JoinTraining(position);
  ASSERT_TRUE(joined.ok()) << joined.status();
  EXPECT_EQ(joined->generation().generation(), 3u);
  EXPECT_FALSE(task.regroup_requested());
}

TEST_F(RunningTaskTest, ARefusedJoinLosesTheLease) {
  RunningTask task = MakeTask();
  coordinator_.Refuse("JoinTraining", 1, grpc::StatusCode::ABORTED);
  EXPECT_TRUE(absl::IsAborted(task.JoinTraining({}).status()));
  EXPECT_TRUE(task.cancelled());
}

TEST_F(RunningTaskTest, AStopEndsTheJoin) {
  RunningTask task = MakeTask();
  std::thread stopper([this] { stop_.Notify(); });
  EXPECT_TRUE(absl::IsCancelled(task.JoinTraining({}).status()));
  stopper.join();
}

TEST_F(RunningTaskTest, ADroppedLeaseEndsTheJoin) {
  RunningTask task = MakeTask();
  coordinator_.Drop(9);
  EXPECT_TRUE(absl::IsAborted(task.JoinTraining({}).status()));
}

TEST_F(RunningTaskTest, TheEndOfTheSessionEndsTheJoin) {
  RunningTask task = MakeTask();
  coordinator_.Refuse("Register", 1, grpc::StatusCode::FAILED_PRECONDITION);
  coordinator_.ForgetWorkers();
  EXPECT_TRUE(absl::IsAborted(task.JoinTraining({}).status()));
  EXPECT_TRUE(task.cancelled());
}

TEST_F(RunningTaskTest, CommitRepeatsLostCallsAndReportsStaleGenerations) {
  RunningTask task = MakeTask();
  coordinator_.SetGeneration(3);
  coordinator_.Refuse("CommitCheckpoint", 1, grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(task.CommitCheckpoint(3, 10, "digest").ok());
  EXPECT_TRUE(absl::IsAborted(task.CommitCheckpoint(2, 20, "digest")));
  EXPECT_FALSE(task.cancelled());
}

}  // namespace
}  // namespace rsidiff::worker
