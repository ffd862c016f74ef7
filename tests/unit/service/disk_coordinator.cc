#include "tests/unit/service/disk_coordinator.h"

#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/artifact/directory_store.h"
#include "common/base/digest.h"
#include "common/base/protocol.h"
#include "common/base/status_macros.h"
#include "coordinator/state/check.h"
#include "coordinator/state/core.h"
#include "coordinator/state/database.h"
#include "coordinator/state/tables.h"
#include "rocksdb/env.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

constexpr absl::Duration kLong = absl::Minutes(1);

/// An error unless `loop` refuses calls because a write has failed.
absl::Status CheckRefuses(CoreLoop& loop) {
  const absl::Status refused = loop.CallAndWait(v1::ListRunsRequest(), kLong).status();
  if (absl::IsUnavailable(refused) && absl::StrContains(refused.message(), "cannot write its state")) {
    return absl::OkStatus();
  }
  return absl::InternalError(absl::StrCat("answered after a failed write: ", refused.ToString()));
}

/// The rows of the tables that Damage compares with what was acknowledged, by their keys.
struct Stored {
  std::vector<Row> rows;
  std::map<std::string, v1::TaskRecord> tasks;
  std::map<std::string, v1::RoundRecord> rounds;
  std::map<std::string, v1::RunRecord> runs;
};

absl::StatusOr<Stored> ReadAll(const Database& database) {
  Stored stored;
  for (Table table : kTables) {
    RSIDIFF_RETURN_IF_ERROR(database.VisitRows(table, [&](const std::string& key, const std::string& value) {
      if (table == Table::kTasks) stored.tasks[key].ParseFromString(value);
      if (table == Table::kRounds) stored.rounds[key].ParseFromString(value);
      if (table == Table::kRuns) stored.runs[key].ParseFromString(value);
      stored.rows.push_back({table, key, value});
      return absl::OkStatus();
    }));
  }
  return stored;
}

/// Why the acknowledged completion of `id` is lost; empty when it is not.
std::string Loss(const Stored& stored, const TaskId& id) {
  auto round = stored.rounds.find(RoundKey(id.run_id, id.round));
  if (round == stored.rounds.end()) {
    return absl::StrCat(id.ToString(), " was acknowledged; its round is gone");
  }
  auto task = stored.tasks.find(TaskRowKey(id));
  const bool forgotten = task == stored.tasks.end() && round->second.phase() == v1::ROUND_PHASE_DONE;
  const bool done = task != stored.tasks.end() && task->second.state() == v1::TASK_STATE_DONE;
  return forgotten || done ? "" : absl::StrCat(id.ToString(), " was acknowledged and is not done");
}

}  // namespace

DiskCoordinator::DiskCoordinator(Writing writing)
    : writing_(writing),
      folder_(std::filesystem::path(testing::TempDir()) / absl::StrCat("rsidiff-disk-faults-", RandomId())) {}

DiskCoordinator::~DiskCoordinator() {
  std::filesystem::remove_all(folder_);
}

absl::Status DiskCoordinator::Live(const std::shared_ptr<FaultyFileSystem>& disk, int max_tasks) {
  std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(disk);
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<Database> database,
                           Database::Open(folder_ / "db", {"", env.get(), {}}));
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
    const bool sync = durability == Durability::kPowerLoss && writing_ != Writing::kNeverSynced;
    const absl::Status written =
        database->Write(writes, sync ? Database::Durability::kSync : Database::Durability::kWal);
    return writing_ == Writing::kErrorsIgnored ? absl::OkStatus() : written;
  };
  options.on_failure = [&failure](const absl::Status& status) { failure = status; };
  RSIDIFF_ASSIGN_OR_RETURN(auto loop,
                           CoreLoop::Start(std::move(recovered.first), std::move(recovered.second), options));
  absl::Status served = Work(*loop, max_tasks);
  if (absl::IsUnavailable(served)) RSIDIFF_RETURN_IF_ERROR(CheckRefuses(*loop));
  loop->Stop();
  return failure.ok() ? served : failure;
}

absl::Status DiskCoordinator::LiveTwice(const std::shared_ptr<FaultyFileSystem>& disk) {
  RSIDIFF_RETURN_IF_ERROR(Live(disk, 5));
  return Live(disk, kAllTasks);
}

std::string DiskCoordinator::Damage(const std::shared_ptr<FaultyFileSystem>& disk) const {
  std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(disk);
  auto database = Database::Open(folder_ / "db", {"", env.get(), {}});
  if (!database.ok()) return database.status().ToString();
  auto stored = ReadAll(**database);
  if (!stored.ok()) return stored.status().ToString();
  const absl::Status sound = ToStatus(CheckRows(stored->rows, CheckScope::kWhole));
  if (!sound.ok()) return sound.ToString();
  if (submitted_ && stored->runs.count(RunKey(1)) == 0) return "the run was acknowledged and is gone";
  if (finished_ && stored->runs[RunKey(1)].state() != v1::RUN_STATE_SUCCEEDED) {
    return "the run's end was acknowledged and is gone";
  }
  for (const TaskId& id : completed_) {
    std::string lost = Loss(*stored, id);
    if (!lost.empty()) return lost;
  }
  return "";
}

// Every look at the clock takes a while, so that nothing waits for ever.
absl::Time DiskCoordinator::Now() {
  return absl::UnixEpoch() + absl::Hours(1) + absl::Milliseconds(10) * ++looks_;
}

template <class T>
absl::StatusOr<T> DiskCoordinator::Call(CoreLoop& loop, Request request) {
  RSIDIFF_ASSIGN_OR_RETURN(Response response, loop.CallAndWait(std::move(request), kLong));
  return std::get<T>(std::move(response));
}

std::string DiskCoordinator::RequestId() {
  return absl::StrCat("request-", ++requests_);
}

absl::Status DiskCoordinator::Work(CoreLoop& loop, int max_tasks) {
  RSIDIFF_ASSIGN_OR_RETURN(const uint64_t incarnation, Register(loop));
  RSIDIFF_RETURN_IF_ERROR(Call<v1::SubmitRunResponse>(loop, SmallRun("submit", 1)).status());
  submitted_ = true;
  // A task that was lost comes back only after its back-off.
  for (int tries = 0; tries < 1'000 && max_tasks > 0 && !finished_; ++tries) {
    RSIDIFF_ASSIGN_OR_RETURN(const int done, CompleteOne(loop, incarnation));
    max_tasks -= done;
    v1::GetRunRequest get;
    get.set_run_id(1);
    RSIDIFF_ASSIGN_OR_RETURN(auto run, Call<v1::RunStatus>(loop, get));
    finished_ = run.run().state() == v1::RUN_STATE_SUCCEEDED;
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> DiskCoordinator::Register(CoreLoop& loop) {
  v1::RegisterRequest registration;
  registration.set_request_id(RequestId());
  registration.set_name("w");
  registration.set_protocol_version(kProtocolVersion);
  RSIDIFF_ASSIGN_OR_RETURN(auto registered, Call<v1::RegisterResponse>(loop, registration));
  if (registered.incarnation() <= incarnation_) {
    return absl::InternalError(absl::StrCat("incarnation ", registered.incarnation(), " was given twice"));
  }
  incarnation_ = registered.incarnation();
  return incarnation_;
}

/// The number of tasks done, 0 or 1.
absl::StatusOr<int> DiskCoordinator::CompleteOne(CoreLoop& loop, uint64_t incarnation) {
  v1::LeaseRequest lease;
  lease.set_request_id(RequestId());
  lease.set_worker("w");
  lease.set_incarnation(incarnation);
  lease.set_max_tasks(1);
  RSIDIFF_ASSIGN_OR_RETURN(auto leased, Call<v1::LeaseResponse>(loop, lease));
  if (leased.grants().empty()) return 0;
  const v1::Grant& grant = leased.grants(0);
  if (grant.token() <= token_) {
    return absl::InternalError(absl::StrCat("token ", grant.token(), " came after ", token_));
  }
  token_ = grant.token();
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

uint64_t ChangesOfARun() {
  auto disk = std::make_shared<FaultyFileSystem>(FaultyFileSystem::Plan{});
  DiskCoordinator coordinator;
  const absl::Status lived = coordinator.LiveTwice(disk);
  EXPECT_TRUE(lived.ok()) << lived;
  EXPECT_TRUE(coordinator.finished());
  const uint64_t changes = disk->changes();
  EXPECT_EQ(coordinator.Damage(disk), "");
  return changes;
}

}  // namespace rsidiff::coordinator
