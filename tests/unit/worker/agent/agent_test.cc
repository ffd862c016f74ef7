#include "worker/agent/agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/unit/worker/agent/fake_coordinator.h"

namespace rsidiff::worker {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::SizeIs;

/// Runs tasks as the test says: each waits until Release, then ends with a result or FailWith's status.
class ScriptedRunner : public TaskRunner {
 public:
  absl::StatusOr<v1::TaskResult> Run(const v1::Grant& grant, TaskControl& control) override {
    absl::MutexLock lock(&mutex_);
    ++started_;
    if (progress_ > 0) control.ReportProgress(progress_);
    auto may_end = [this, &control] {
      mutex_.AssertReaderHeld();
      return !hold_ || (control.cancelled() && !deaf_);
    };
    while (!may_end()) mutex_.AwaitWithTimeout(absl::Condition(&may_end), absl::Milliseconds(10));
    if (control.cancelled()) return absl::CancelledError("cancelled");
    if (!status_.ok()) return status_;
    v1::TaskResult result;
    result.mutable_generate()->set_latents(std::to_string(grant.token()));
    return result;
  }

  void Hold(double progress) {
    absl::MutexLock lock(&mutex_);
    hold_ = true;
    progress_ = progress;
  }
  void Release() {
    absl::MutexLock lock(&mutex_);
    hold_ = false;
  }
  /// Held tasks do not look whether they are cancelled.
  void BeDeaf() {
    absl::MutexLock lock(&mutex_);
    deaf_ = true;
  }
  void FailWith(absl::Status status) {
    absl::MutexLock lock(&mutex_);
    status_ = std::move(status);
  }
  bool AwaitStarted(int count) {
    absl::MutexLock lock(&mutex_);
    auto enough = [this, count] {
      mutex_.AssertReaderHeld();
      return started_ >= count;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(10));
  }
  int started() const {
    absl::MutexLock lock(&mutex_);
    return started_;
  }

 private:
  mutable absl::Mutex mutex_;
  bool hold_ ABSL_GUARDED_BY(mutex_) = false;
  bool deaf_ ABSL_GUARDED_BY(mutex_) = false;
  double progress_ ABSL_GUARDED_BY(mutex_) = 0;
  int started_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

class AgentTest : public ::testing::Test {
 protected:
  void Start() {
    AgentOptions options;
    options.name = "w1";
    options.poll_wait = absl::Milliseconds(500);
    options.stop = stop_;
    agent_ = std::make_unique<Agent>(options, OpenChannel(coordinator_.address()), runner_, metrics_);
    thread_ = std::thread([this] { status_ = agent_->Run(); });
  }
  absl::Status Join() {
    thread_.join();
    return status_;
  }
  absl::Status DrainAndJoin() {
    agent_->Drain();
    return Join();
  }
  void TearDown() override {
    runner_.Release();
    if (thread_.joinable()) {
      agent_->Stop();
      thread_.join();
    }
  }
  bool AwaitCompletions(size_t count) {
    return coordinator_.Await([count](const auto& view) { return view.completions.size() >= count; });
  }
  bool AwaitHeartbeats(int more) {
    int seen = coordinator_.view().heartbeats;
    return coordinator_.Await([seen, more](const auto& view) { return view.heartbeats >= seen + more; });
  }
  double Metric(const std::string& name, const std::string& kind, const std::string& outcome) {
    for (const prometheus::MetricFamily& family : metrics_.Collect()) {
      if (family.name != name) continue;
      for (const prometheus::ClientMetric& metric : family.metric) {
        if (metric.label.size() == 2 && metric.label[0].value == kind && metric.label[1].value == outcome) {
          return metric.counter.value;
        }
      }
    }
    return -1;
  }
  double TaskCount(const std::string& outcome) {
    return Metric("rsidiff_worker_tasks_total", "generate", outcome);
  }

  FakeCoordinator coordinator_;
  ScriptedRunner runner_;
  WorkerMetrics metrics_{[] { return uint64_t{0}; }};
  const std::shared_ptr<absl::Notification> stop_ = std::make_shared<absl::Notification>();
  std::unique_ptr<Agent> agent_;
  std::thread thread_;
  absl::Status status_;
};

TEST_F(AgentTest, ComputesTasksAndReportsResults) {
  for (int i = 0; i < 3; ++i) coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  Start();
  ASSERT_TRUE(AwaitCompletions(3));
  EXPECT_TRUE(agent_->Ready().ok());
  EXPECT_TRUE(DrainAndJoin().ok());
  auto view = coordinator_.view();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(view.completions[i].result().generate().latents(), std::to_string(i + 1));
    EXPECT_EQ(view.completions[i].incarnation(), view.incarnation);
  }
  EXPECT_EQ(view.registrations.size(), 1u);
  EXPECT_EQ(TaskCount("done"), 3);
}

TEST_F(AgentTest, SendsACompletionAgainWhenTheAnswerIsLost) {
  coordinator_.LoseReplies("Complete", 2, grpc::StatusCode::UNAVAILABLE);
  coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  Start();
  ASSERT_TRUE(coordinator_.Await([](const auto& view) { return view.complete_calls == 3; }));
  EXPECT_TRUE(DrainAndJoin().ok());
  // Applied once: the three calls had one request id.
  EXPECT_EQ(coordinator_.view().completions.size(), 1u);
  EXPECT_EQ(TaskCount("done"), 1);
}

TEST_F(AgentTest, GetsTheSameGrantWhenTheAnswerIsLost) {
  coordinator_.LoseReplies("Lease", 1, grpc::StatusCode::UNAVAILABLE);
  coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  Start();
  ASSERT_TRUE(AwaitCompletions(1));
  EXPECT_EQ(runner_.started(), 1);
}

TEST_F(AgentTest, DropsAFencedResult) {
  coordinator_.Refuse("Complete", 1, grpc::StatusCode::ABORTED);
  coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  Start();
  ASSERT_TRUE(AwaitCompletions(1));
  EXPECT_TRUE(DrainAndJoin().ok());
  EXPECT_EQ(coordinator_.view().complete_calls, 2);
  EXPECT_EQ(TaskCount("fenced"), 1);
  EXPECT_EQ(TaskCount("done"), 1);
}

TEST_F(AgentTest, StopsWorkWhoseLeaseIsLost) {
  runner_.Hold(0);
  uint64_t token = coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  Start();
  ASSERT_TRUE(runner_.AwaitStarted(1));
  coordinator_.Drop(token);
  uint64_t second = coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  ASSERT_TRUE(runner_.AwaitStarted(2));  // the first ended although nobody released it
  runner_.Release();
  ASSERT_TRUE(AwaitCompletions(1));
  EXPECT_EQ(coordinator_.view().completions[0].token(), second);
  EXPECT_EQ(TaskCount("fenced"), 1);
}

TEST_F(AgentTest, RegistersAgainWhenUnknownAndKeepsItsLeases) {
  runner_.Hold(0);
  uint64_t token = coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  Start();
  ASSERT_TRUE(runner_.AwaitStarted(1));
  coordinator_.ForgetWorkers();
  ASSERT_TRUE(coordinator_.Await([](const auto& view) { return view.registrations.size() == 2; }));
  auto view = coordinator_.view();
  EXPECT_EQ(view.registrations[1].incarnation(), 1u);
  ASSERT_THAT(view.registrations[1].held(), SizeIs(1));
  EXPECT_EQ(view.registrations[1].held(0).token(), token);
  ASSERT_TRUE(AwaitHeartbeats(1));  // the answer has arrived
  runner_.Release();
  ASSERT_TRUE(AwaitCompletions(1));
  EXPECT_EQ(coordinator_.view().completions[0].incarnation(), 2u);
}

TEST_F(AgentTest, DropsItsLeasesWhenItsIncarnationIsFenced) {
  runner_.Hold(0);
  coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  Start();
  ASSERT_TRUE(runner_.AwaitStarted(1));
  coordinator_.Refuse("Heartbeat", 1, grpc::StatusCode::ABORTED);
  ASSERT_TRUE(coordinator_.Await([](const auto& view) { return view.registrations.size() == 2; }));
  EXPECT_THAT(coordinator_.view().registrations[1].held(), SizeIs(0));
  EXPECT_TRUE(DrainAndJoin().ok());
  EXPECT_TRUE(coordinator_.view().completions.empty());
  EXPECT_EQ(TaskCount("fenced"), 1);
}

TEST_F(AgentTest, GivesUpANameThatAnotherProcessKeepsTaking) {
  coordinator_.Refuse("Heartbeat", 100, grpc::StatusCode::ABORTED);
  Start();
  absl::Status status = Join();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("another process works under the name 'w1'"));
}

TEST_F(AgentTest, SurvivesARestartOfTheCoordinator) {
  runner_.Hold(0);
  uint64_t token = coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  Start();
  ASSERT_TRUE(runner_.AwaitStarted(1));
  coordinator_.Kill();
  runner_.Release();  // ends while nobody can be told
  coordinator_.Restart();
  ASSERT_TRUE(AwaitCompletions(1));
  EXPECT_EQ(coordinator_.view().completions[0].token(), token);
  EXPECT_EQ(runner_.started(), 1);
  coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  EXPECT_TRUE(AwaitCompletions(2));
}

TEST_F(AgentTest, AssertsItsLeasesAgainAfterLostContact) {
  runner_.Hold(0);
  uint64_t token = coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  Start();
  ASSERT_TRUE(runner_.AwaitStarted(1));
  coordinator_.Refuse("Heartbeat", 1, grpc::StatusCode::UNAVAILABLE);
  ASSERT_TRUE(coordinator_.Await([](const auto& view) { return view.registrations.size() == 2; }));
  auto view = coordinator_.view();
  EXPECT_EQ(view.registrations[1].incarnation(), 1u);
  ASSERT_THAT(view.registrations[1].held(), SizeIs(1));
  EXPECT_EQ(view.registrations[1].held(0).token(), token);
  EXPECT_EQ(view.incarnation, 1u);
}

TEST_F(AgentTest, StartsNothingWithoutContact) {
  runner_.Hold(1.0);
  coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  uint64_t prefetched = coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  Start();
  ASSERT_TRUE(coordinator_.Await([prefetched](const auto& view) {
    return std::any_of(view.last_held.begin(), view.last_held.end(),
                       [prefetched](const auto& held) { return held.token() == prefetched; });
  }));
  coordinator_.Refuse("Heartbeat", 1'000'000, grpc::StatusCode::UNAVAILABLE);
  coordinator_.Refuse("Register", 1'000'000, grpc::StatusCode::UNAVAILABLE);
  while (agent_->Ready().ok()) absl::SleepFor(absl::Milliseconds(5));
  runner_.Release();
  ASSERT_TRUE(AwaitCompletions(1));
  absl::SleepFor(absl::Milliseconds(300));
  EXPECT_EQ(runner_.started(), 1);
  coordinator_.Refuse("Register", 0, grpc::StatusCode::OK);
  coordinator_.Refuse("Heartbeat", 0, grpc::StatusCode::OK);
  EXPECT_TRUE(AwaitCompletions(2));
}

TEST_F(AgentTest, DrainFinishesTheTaskInProgressAndReturnsThePrefetchedOne) {
  runner_.Hold(0.9);
  uint64_t running = coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  uint64_t prefetched = coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  Start();
  ASSERT_TRUE(coordinator_.Await([](const auto& view) { return view.last_held.size() == 2; }));
  agent_->Drain();
  EXPECT_EQ(coordinator_.view().drain_calls, 1);
  runner_.Release();
  EXPECT_TRUE(Join().ok());
  auto view = coordinator_.view();
  ASSERT_EQ(view.completions.size(), 2u);
  EXPECT_EQ(view.completions[0].token(), running);
  EXPECT_TRUE(view.completions[0].has_result());
  EXPECT_EQ(view.completions[1].token(), prefetched);
  EXPECT_TRUE(view.completions[1].returned());
  EXPECT_EQ(runner_.started(), 1);
}

TEST_F(AgentTest, ADrainFromTheCoordinatorEndsTheWorkerToo) {
  Start();
  ASSERT_TRUE(AwaitHeartbeats(1));
  coordinator_.SetDraining(true);
  EXPECT_TRUE(Join().ok());
}

TEST_F(AgentTest, StopReturnsTheTaskInProgress) {
  runner_.Hold(0);
  coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  Start();
  ASSERT_TRUE(runner_.AwaitStarted(1));
  agent_->Stop();
  EXPECT_TRUE(Join().ok());
  auto view = coordinator_.view();
  ASSERT_EQ(view.completions.size(), 1u);
  EXPECT_TRUE(view.completions[0].returned());
}

TEST_F(AgentTest, AStopIsToldAndEndsTheRequestsForWork) {
  runner_.Hold(1.0);
  runner_.BeDeaf();
  coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  Start();
  ASSERT_TRUE(runner_.AwaitStarted(1));
  coordinator_.Refuse("Lease", 1'000'000, grpc::StatusCode::UNAVAILABLE);
  const int before = coordinator_.view().lease_calls;
  ASSERT_TRUE(coordinator_.Await([before](const auto& view) { return view.lease_calls > before; }));
  EXPECT_FALSE(stop_->HasBeenNotified());
  agent_->Stop();
  EXPECT_TRUE(stop_->HasBeenNotified());
  const int calls = coordinator_.view().lease_calls;
  ASSERT_TRUE(AwaitHeartbeats(2));
  EXPECT_LE(coordinator_.view().lease_calls, calls + 1);  // one may have been on its way
  runner_.Release();
  EXPECT_TRUE(Join().ok());
}

TEST_F(AgentTest, TakesAGrantOfManyMegabytes) {
  v1::TaskPayload payload;
  payload.mutable_generate()->add_items()->set_prompt(std::string(20 << 20, 'p'));
  coordinator_.AddTask(v1::TASK_KIND_GENERATE, payload);
  Start();
  ASSERT_TRUE(AwaitCompletions(1));
  EXPECT_TRUE(coordinator_.view().completions[0].has_result());
}

TEST_F(AgentTest, PrefetchesNothingEarlyOrBesideATraining) {
  runner_.Hold(0.5);
  coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  coordinator_.AddTask(v1::TASK_KIND_TRAIN);
  coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  Start();
  ASSERT_TRUE(runner_.AwaitStarted(1));
  ASSERT_TRUE(AwaitHeartbeats(2));
  EXPECT_THAT(coordinator_.view().last_held, SizeIs(1));
  runner_.Hold(0.9);
  runner_.Release();
  ASSERT_TRUE(runner_.AwaitStarted(3));
}

TEST_F(AgentTest, ATaskErrorIsReportedWithItsMessage) {
  runner_.FailWith(absl::InvalidArgumentError("generate: no such model"));
  coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  Start();
  ASSERT_TRUE(AwaitCompletions(1));
  EXPECT_EQ(coordinator_.view().completions[0].error(), "generate: no such model");
  EXPECT_TRUE(DrainAndJoin().ok());
  EXPECT_EQ(TaskCount("error"), 1);
}

TEST_F(AgentTest, AnAbsentStoreCostsTheTaskNothing) {
  runner_.FailWith(absl::UnavailableError("artifact store is away"));
  coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  Start();
  ASSERT_TRUE(AwaitCompletions(1));
  EXPECT_TRUE(coordinator_.view().completions[0].returned());
}

TEST_F(AgentTest, AFullDiskCostsTheTaskNothingAndIsToldUntilItHasRoom) {
  runner_.FailWith(absl::ResourceExhaustedError("cannot write /cache/x: No space left on device"));
  coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  Start();
  ASSERT_TRUE(AwaitCompletions(1));
  EXPECT_TRUE(coordinator_.view().completions[0].returned());
  EXPECT_THAT(agent_->Ready().message(), HasSubstr("/cache/x"));
  runner_.FailWith(absl::OkStatus());
  coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  ASSERT_TRUE(AwaitCompletions(2));
  EXPECT_TRUE(coordinator_.view().completions[1].has_result());
  EXPECT_TRUE(agent_->Ready().ok());
}

TEST_F(AgentTest, ARefusedResultIsATaskErrorAndIsNotSentAgain) {
  coordinator_.FailResults(1);
  coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  uint64_t second = coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  Start();
  ASSERT_TRUE(AwaitCompletions(1));
  EXPECT_TRUE(DrainAndJoin().ok());
  auto view = coordinator_.view();
  EXPECT_EQ(view.complete_calls, 2);
  EXPECT_EQ(view.completions[0].token(), second);
  EXPECT_EQ(TaskCount("error"), 1);
  EXPECT_EQ(TaskCount("done"), 1);
  EXPECT_EQ(TaskCount("fenced"), 0);
}

TEST_F(AgentTest, AnotherProtocolVersionEndsTheWorker) {
  coordinator_.Refuse("Register", 1, grpc::StatusCode::FAILED_PRECONDITION);
  Start();
  absl::Status status = Join();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the coordinator refused this worker"));
}

TEST_F(AgentTest, ARegistrationThatIsRefusedLaterEndsTheTaskInProgress) {
  runner_.Hold(0);
  coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  Start();
  ASSERT_TRUE(runner_.AwaitStarted(1));
  coordinator_.Refuse("Register", 1, grpc::StatusCode::FAILED_PRECONDITION);
  coordinator_.ForgetWorkers();
  EXPECT_EQ(Join().code(), absl::StatusCode::kFailedPrecondition);  // although nobody released it
  EXPECT_EQ(TaskCount("fenced"), 1);
}

TEST_F(AgentTest, WaitsForACoordinatorThatIsNotThereYet) {
  coordinator_.Kill();
  Start();
  EXPECT_FALSE(agent_->Ready().ok());
  coordinator_.Restart();
  coordinator_.AddTask(v1::TASK_KIND_GENERATE);
  EXPECT_TRUE(AwaitCompletions(1));
}

TEST_F(AgentTest, CanBeDrainedBeforeItEverRegistered) {
  coordinator_.Kill();
  Start();
  EXPECT_TRUE(DrainAndJoin().ok());
}

}  // namespace
}  // namespace rsidiff::worker
