// A run on a machine that loses its power: at every change that the database makes to its files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/artifact/directory_store.h"
#include "common/base/digest.h"
#include "common/base/protocol.h"
#include "common/base/status_macros.h"
#include "coordinator/service/core_loop.h"
#include "coordinator/state/check.h"
#include "coordinator/state/core.h"
#include "coordinator/state/database.h"
#include "coordinator/state/tables.h"
#include "rocksdb/env.h"
#include "tests/unit/coordinator/fake_results.h"
#include "tests/unit/service/faulty_file_system.h"

namespace rsidiff::coordinator {
namespace {

using ::testing::HasSubstr;
using Fault = FaultyFileSystem::Fault;
using Loss = FaultyFileSystem::Loss;

constexpr absl::Duration kLong = absl::Minutes(1);
constexpr int kAllTasks = 1'000;

/// How the coordinator writes: as it does, or never synced, which the tests have to notice.
enum class Writing { kAsIs, kNeverSynced };

/// The coordinator's database, core and loop in a folder, and one worker. Lives one after the other; what
/// was acknowledged is remembered over all of them.
class Cluster {
 public:
  explicit Cluster(Writing writing) : writing_(writing) {}
  ~Cluster() { std::filesystem::remove_all(folder_); }

  /// Starts a coordinator, works off up to `max_tasks` tasks and stops it. The error that stopped it, if one
  /// did.
  absl::Status Live(rocksdb::Env* env, int max_tasks) {
    RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<Database> database,
                             Database::Open(folder_ / "db", {"", env, {}}));
    RSIDIFF_ASSIGN_OR_RETURN(std::vector<Row> rows, database->ScanForRecovery());
    CoreOptions core;
    core.cluster_id = "cluster";
    RSIDIFF_ASSIGN_OR_RETURN(auto recovered, Core::Recover(core, std::move(rows), Now()));
    absl::Status failure;
    CoreLoopOptions options;
    RSIDIFF_ASSIGN_OR_RETURN(auto artifacts, DirectoryStore::Open(folder_ / "artifacts"));
    options.artifacts = artifacts.get();
    options.now = [this] { return Now(); };
    options.write = [&](const std::vector<RowWrite>& writes, Durability durability) {
      const bool sync = durability == Durability::kPowerLoss && writing_ == Writing::kAsIs;
      return database->Write(writes, sync ? Database::Durability::kSync : Database::Durability::kWal);
    };
    options.on_failure = [&failure](const absl::Status& status) { failure = status; };
    RSIDIFF_ASSIGN_OR_RETURN(
        auto loop, CoreLoop::Start(std::move(recovered.first), std::move(recovered.second), options));
    const absl::Status served = Work(*loop, max_tasks);
    loop->Stop();
    return failure.ok() ? served : failure;
  }

  /// What is wrong with what is on the disk: a rule that it breaks, or what was acknowledged and is not
  /// there. Empty: nothing.
  std::string Damage() const {
    auto database = Database::Open(folder_ / "db");
    if (!database.ok()) return database.status().ToString();
    std::vector<Row> rows;
    std::map<std::string, v1::TaskRecord> tasks;
    std::map<std::string, v1::RoundRecord> rounds;
    for (Table table : kTables) {
      absl::Status read =
          (*database)->VisitRows(table, [&](const std::string& key, const std::string& value) {
            if (table == Table::kTasks) tasks[key].ParseFromString(value);
            if (table == Table::kRounds) rounds[key].ParseFromString(value);
            rows.push_back({table, key, value});
            return absl::OkStatus();
          });
      if (!read.ok()) return read.ToString();
    }
    absl::Status sound = ToStatus(CheckRows(rows, CheckScope::kWhole));
    if (!sound.ok()) return sound.ToString();
    for (const TaskId& id : completed_) {
      auto round = rounds.find(RoundKey(id.run_id, id.round));
      if (round == rounds.end()) return absl::StrCat(id.ToString(), " was acknowledged; its round is gone");
      auto task = tasks.find(TaskRowKey(id));
      const bool forgotten = task == tasks.end() && round->second.phase() == v1::ROUND_PHASE_DONE;
      const bool done = task != tasks.end() && task->second.state() == v1::TASK_STATE_DONE;
      if (!forgotten && !done) return absl::StrCat(id.ToString(), " was acknowledged and is not done");
    }
    return "";
  }

  bool finished() const { return finished_; }

 private:
  // Every look at the clock takes a while, so that nothing waits for ever.
  absl::Time Now() { return absl::UnixEpoch() + absl::Hours(1) + absl::Milliseconds(10) * ++looks_; }

  template <class T>
  absl::StatusOr<T> Call(CoreLoop& loop, Request request) {
    RSIDIFF_ASSIGN_OR_RETURN(Response response, loop.CallAndWait(std::move(request), kLong));
    return std::get<T>(std::move(response));
  }

  std::string RequestId() { return absl::StrCat("request-", ++requests_); }

  absl::Status Work(CoreLoop& loop, int max_tasks) {
    v1::RegisterRequest registration;
    registration.set_request_id(RequestId());
    registration.set_name("w");
    registration.set_protocol_version(kProtocolVersion);
    RSIDIFF_ASSIGN_OR_RETURN(auto registered, Call<v1::RegisterResponse>(loop, registration));
    RSIDIFF_RETURN_IF_ERROR(Call<v1::SubmitRunResponse>(loop, SmallRun("submit", 1)).status());
    // A task that was lost comes back only after its back-off.
    for (int tries = 0; tries < 1'000 && max_tasks > 0 && !finished_; ++tries) {
      RSIDIFF_ASSIGN_OR_RETURN(const int done, CompleteOne(loop, registered.incarnation()));
      max_tasks -= done;
      v1::GetRunRequest get;
      get.set_run_id(1);
      RSIDIFF_ASSIGN_OR_RETURN(auto run, Call<v1::RunStatus>(loop, get));
      finished_ = run.run().state() == v1::RUN_STATE_SUCCEEDED;
    }
    return absl::OkStatus();
  }

  /// The number of tasks done, 0 or 1.
  absl::StatusOr<int> CompleteOne(CoreLoop& loop, uint64_t incarnation) {
    v1::LeaseRequest lease;
    lease.set_request_id(RequestId());
    lease.set_worker("w");
    lease.set_incarnation(incarnation);
    lease.set_max_tasks(1);
    RSIDIFF_ASSIGN_OR_RETURN(auto leased, Call<v1::LeaseResponse>(loop, lease));
    if (leased.grants().empty()) return 0;
    const v1::Grant& grant = leased.grants(0);
    if (grant.task().kind() == v1::TASK_KIND_TRAIN) {
      v1::JoinTrainingRequest join;
      join.set_request_id(RequestId());
      join.set_worker("w");
      join.set_incarnation(incarnation);
      *join.mutable_task() = grant.task();
      join.set_token(grant.token());
      join.set_store_address("w:1000");
      join.set_wait_ms(20'000);
      RSIDIFF_RETURN_IF_ERROR(Call<v1::JoinTrainingResponse>(loop, join).status());
    }
    v1::CompleteRequest complete;
    complete.set_request_id(RequestId());
    complete.set_worker("w");
    complete.set_incarnation(incarnation);
    *complete.mutable_task() = grant.task();
    complete.set_token(grant.token());
    *complete.mutable_result() = FakeResult(grant.payload());
    RSIDIFF_RETURN_IF_ERROR(Call<v1::CompleteResponse>(loop, complete).status());
    completed_.push_back(TaskId::From(grant.task()));
    return 1;
  }

  const Writing writing_;
  const std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) / absl::StrCat("rsidiff-disk-faults-", RandomId());
  std::vector<TaskId> completed_;
  bool finished_ = false;
  std::atomic<int> looks_{0};
  int requests_ = 0;
};

/// Two lives of a coordinator on one disk, the second of which moves the first one's log into tables; the
/// error that stopped it.
absl::Status LiveTwice(Cluster& cluster, rocksdb::Env* env) {
  RSIDIFF_RETURN_IF_ERROR(cluster.Live(env, 5));
  return cluster.Live(env, kAllTasks);
}

/// How many changes a run makes to its files where nothing fails.
uint64_t ChangesOfARun() {
  auto disk = std::make_shared<FaultyFileSystem>(FaultyFileSystem::Plan{});
  std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(disk);
  Cluster cluster(Writing::kAsIs);
  EXPECT_TRUE(LiveTwice(cluster, env.get()).ok());
  EXPECT_TRUE(cluster.finished());
  EXPECT_EQ(cluster.Damage(), "");
  return disk->changes();
}

/// Loses the power at every change; the first fault of what is left.
std::string FaultAfterPowerLoss(Writing writing, Loss loss) {
  const uint64_t changes = ChangesOfARun();
  for (uint64_t at = 1; at <= changes + 1; ++at) {
    auto disk = std::make_shared<FaultyFileSystem>(FaultyFileSystem::Plan{Fault::kError, at});
    Cluster cluster(writing);
    {
      std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(disk);
      (void)LiveTwice(cluster, env.get());  // stopped at `at`, if it got there
    }
    disk->LosePower(loss, static_cast<uint32_t>(at));
    std::string fault = cluster.Damage();
    if (fault.empty()) {
      const absl::Status goes_on = cluster.Live(nullptr, kAllTasks);
      if (!goes_on.ok()) fault = goes_on.ToString();
      if (!cluster.finished()) fault = "the run does not end";
    }
    if (!fault.empty()) return absl::StrCat("power lost at change ", at, ": ", fault);
  }
  return "";
}

TEST(PowerLossTest, LosesNothingThatWasAcknowledged) {
  EXPECT_EQ(FaultAfterPowerLoss(Writing::kAsIs, Loss::kAll), "");
}

TEST(PowerLossTest, WritesThatAreNotSyncedAreNoticed) {
  EXPECT_THAT(FaultAfterPowerLoss(Writing::kNeverSynced, Loss::kAll), HasSubstr("was acknowledged"));
}

}  // namespace
}  // namespace rsidiff::coordinator
