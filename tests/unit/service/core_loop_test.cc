#include "coordinator/service/core_loop.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/protocol.h"
#include "coordinator/state/tables.h"

namespace rsidiff::coordinator {
namespace {

// A disk of rows that can be told to fail or to wait.
class FakeDisk {
 public:
  absl::Status Write(const std::vector<RowWrite>& rows, Durability) {
    absl::MutexLock lock(&mutex_);
    ++waiting_;
    mutex_.Await(absl::Condition(&open_));
    --waiting_;
    if (!status_.ok()) return status_;
    for (const RowWrite& row : rows) {
      if (row.value) {
        rows_[{row.table, row.key}] = *row.value;
      } else {
        rows_.erase({row.table, row.key});
      }
    }
    return absl::OkStatus();
  }

  void FailWith(absl::Status status) {
    absl::MutexLock lock(&mutex_);
    status_ = std::move(status);
  }
  void SetOpen(bool open) {
    absl::MutexLock lock(&mutex_);
    open_ = open;
  }
  void AwaitWriter() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](int* waiting) { return *waiting > 0; }, &waiting_));
  }
  bool HasWorker(const std::string& name) {
    absl::MutexLock lock(&mutex_);
    return rows_.count({Table::kWorkers, name}) > 0;
  }

 private:
  absl::Mutex mutex_;
  bool open_ = true;
  int waiting_ = 0;
  absl::Status status_;
  std::map<std::pair<Table, std::string>, std::string> rows_;
};

class CoreLoopTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<CoreLoop>> Start() {
    CoreOptions core;
    core.version = "test";
    core.cluster_id = "cluster";
    options_.now = SteadyClock();
    options_.write = [this](const std::vector<RowWrite>& rows, Durability durability) {
      return disk_.Write(rows, durability);
    };
    options_.on_failure = [this](const absl::Status& status) { failure_.set_value(status); };
    auto recovered = Core::Recover(core, {}, options_.now());
    if (!recovered.ok()) return recovered.status();
    return CoreLoop::Start(std::move(recovered->first), std::move(recovered->second), options_);
  }

  static v1::RegisterRequest RegisterOf(const std::string& name) {
    v1::RegisterRequest request;
    request.set_request_id(absl::StrCat("register-", name));
    request.set_name(name);
    request.set_protocol_version(kProtocolVersion);
    return request;
  }

  static std::future<absl::StatusOr<Response>> CallLater(CoreLoop& loop, Request request,
                                                         std::function<bool()> abandoned) {
    auto promise = std::make_shared<std::promise<absl::StatusOr<Response>>>();
    PendingCall call;
    call.request = std::move(request);
    call.done = [promise](absl::StatusOr<Response> answer) { promise->set_value(std::move(answer)); };
    call.abandoned = std::move(abandoned);
    loop.Call(std::move(call));
    return promise->get_future();
  }

  FakeDisk disk_;
  CoreLoopOptions options_;
  std::promise<absl::Status> failure_;
};

constexpr absl::Duration kLong = absl::Minutes(1);

TEST_F(CoreLoopTest, AnswersOnlyAfterTheWrite) {
  auto loop = *Start();
  disk_.SetOpen(false);
  auto answer = CallLater(*loop, RegisterOf("w"), {});
  disk_.AwaitWriter();
  EXPECT_EQ(answer.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  EXPECT_FALSE(disk_.HasWorker("w"));
  disk_.SetOpen(true);
  EXPECT_TRUE(answer.get().ok());
  EXPECT_TRUE(disk_.HasWorker("w"));
}

TEST_F(CoreLoopTest, ReadsWaitForTheWritesTheyCouldSee) {
  auto loop = *Start();
  disk_.SetOpen(false);
  auto write = CallLater(*loop, RegisterOf("w"), {});
  disk_.AwaitWriter();
  auto read = CallLater(*loop, v1::ListWorkersRequest(), {});
  EXPECT_EQ(read.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  disk_.SetOpen(true);
  auto workers = read.get();
  ASSERT_TRUE(workers.ok());
  EXPECT_EQ(std::get<v1::ListWorkersResponse>(*workers).workers_size(), 1);
}

TEST_F(CoreLoopTest, FailedWriteAcknowledgesNothing) {
  auto loop = *Start();
  EXPECT_TRUE(loop->health().ok());
  disk_.FailWith(absl::ResourceExhaustedError("no space left"));
  auto answer = loop->CallAndWait(RegisterOf("w"), kLong);
  EXPECT_TRUE(absl::IsUnavailable(answer.status())) << answer.status();
  EXPECT_TRUE(absl::StrContains(answer.status().message(), "no space left"));
  EXPECT_TRUE(absl::IsResourceExhausted(failure_.get_future().get()));
  EXPECT_FALSE(loop->health().ok());
  // The disk has room again: this process's memory is ahead of it all the same.
  disk_.FailWith(absl::OkStatus());
  EXPECT_TRUE(absl::IsUnavailable(loop->CallAndWait(RegisterOf("v"), kLong).status()));
  EXPECT_TRUE(absl::IsUnavailable(loop->CallAndWait(v1::ListRunsRequest(), kLong).status()));
  EXPECT_FALSE(disk_.HasWorker("w"));
  EXPECT_FALSE(disk_.HasWorker("v"));
}

TEST_F(CoreLoopTest, FailedRecoveryWriteStopsTheStart) {
  disk_.FailWith(absl::ResourceExhaustedError("no space left"));
  EXPECT_TRUE(absl::IsResourceExhausted(Start().status()));
}

TEST_F(CoreLoopTest, FullQueueRefusesAtOnce) {
  options_.max_queue = 0;
  auto loop = *Start();
  EXPECT_TRUE(absl::IsResourceExhausted(loop->CallAndWait(v1::ListRunsRequest(), kLong).status()));
}

TEST_F(CoreLoopTest, AbandonedCallHasNoEffect) {
  auto loop = *Start();
  auto answer = CallLater(*loop, RegisterOf("w"), [] { return true; });
  EXPECT_TRUE(absl::IsCancelled(answer.get().status()));
  auto workers = loop->CallAndWait(v1::ListWorkersRequest(), kLong);
  EXPECT_EQ(std::get<v1::ListWorkersResponse>(*workers).workers_size(), 0);
}

TEST_F(CoreLoopTest, LongPollEndsByItsTimer) {
  auto loop = *Start();
  auto registered = loop->CallAndWait(RegisterOf("w"), kLong);
  v1::LeaseRequest lease;
  lease.set_request_id("lease");
  lease.set_worker("w");
  lease.set_incarnation(std::get<v1::RegisterResponse>(*registered).incarnation());
  lease.set_max_tasks(1);
  lease.set_wait_ms(50);
  auto leased = loop->CallAndWait(lease, kLong);
  ASSERT_TRUE(leased.ok()) << leased.status();
  EXPECT_EQ(std::get<v1::LeaseResponse>(*leased).grants_size(), 0);
}

TEST_F(CoreLoopTest, CancelledLongPollIsAnsweredAtOnce) {
  auto loop = *Start();
  auto registered = loop->CallAndWait(RegisterOf("w"), kLong);
  v1::LeaseRequest lease;
  lease.set_request_id("lease");
  lease.set_worker("w");
  lease.set_incarnation(std::get<v1::RegisterResponse>(*registered).incarnation());
  lease.set_max_tasks(1);
  lease.set_wait_ms(20'000);
  std::promise<absl::StatusOr<Response>> answer;
  PendingCall call;
  call.request = lease;
  call.done = [&answer](absl::StatusOr<Response> response) { answer.set_value(std::move(response)); };
  uint64_t id = loop->Call(std::move(call));
  loop->Cancel(id);
  EXPECT_TRUE(absl::IsCancelled(answer.get_future().get().status()));
  loop->Cancel(id);  // of a call that is over
  loop->Cancel(1'000'000);
  EXPECT_TRUE(loop->CallAndWait(v1::ListWorkersRequest(), kLong).ok());
}

TEST_F(CoreLoopTest, StopAnswersLongPollsAndKeepsWhatWasCalled) {
  auto loop = *Start();
  auto registered = loop->CallAndWait(RegisterOf("w"), kLong);
  v1::LeaseRequest lease;
  lease.set_request_id("lease");
  lease.set_worker("w");
  lease.set_incarnation(std::get<v1::RegisterResponse>(*registered).incarnation());
  lease.set_max_tasks(1);
  lease.set_wait_ms(20'000);
  auto poll = CallLater(*loop, lease, {});
  auto last = CallLater(*loop, RegisterOf("last"), {});
  loop->Stop();
  EXPECT_TRUE(absl::IsUnavailable(poll.get().status()));
  EXPECT_TRUE(last.get().ok());
  EXPECT_TRUE(disk_.HasWorker("last"));
  EXPECT_TRUE(absl::IsUnavailable(loop->CallAndWait(v1::ListRunsRequest(), kLong).status()));
  loop->Stop();
}

TEST_F(CoreLoopTest, ManyCallersAreAllAnswered) {
  auto loop = *Start();
  std::vector<std::thread> callers;
  std::atomic<int> answered{0};
  for (int i = 0; i < 8; ++i) {
    callers.emplace_back([&, i] {
      for (int j = 0; j < 50; ++j) {
        if (loop->CallAndWait(RegisterOf(absl::StrCat("w", i, "-", j)), kLong).ok()) ++answered;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(answered, 400);
}

TEST(SteadyClock, StartsNowAndNeverGoesBack) {
  auto clock = SteadyClock();
  absl::Time last = clock();
  EXPECT_LT(absl::AbsDuration(last - absl::Now()), absl::Minutes(1));
  for (int i = 0; i < 1000; ++i) {
    absl::Time now = clock();
    EXPECT_GE(now, last);
    last = now;
  }
}

}  // namespace
}  // namespace rsidiff::coordinator
