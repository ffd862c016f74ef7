#include "coordinator/state/backup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/protocol.h"
#include "coordinator/state/check.h"
#include "coordinator/state/core.h"
#include "coordinator/state/tables.h"
#include "tests/unit/coordinator/core_harness.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class BackupTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }

  /// Writes what changed on the harness' disk since the last call.
  void Store(Database& database) {
    std::vector<RowWrite> writes;
    for (const auto& [where, value] : harness_.disk()) {
      auto before = stored_.find(where);
      if (before == stored_.end() || before->second != value)
        writes.push_back({where.first, where.second, value});
    }
    for (const auto& [where, value] : stored_) {
      if (harness_.disk().count(where) == 0) writes.push_back({where.first, where.second, std::nullopt});
    }
    stored_ = harness_.disk();
    ASSERT_TRUE(database.Write(writes, Database::Durability::kSync).ok());
  }

  /// A database with a run under way and a task leased to "w".
  std::unique_ptr<Database> RunUnderWay() {
    incarnation_ = harness_.Register("w");
    harness_.Ok<v1::SubmitRunResponse>(SmallRun("submit", 2));
    for (int task = 0; task < 5; ++task) {
      v1::Grant grant = harness_.Lease("w", incarnation_)[0];
      harness_.Ok<v1::CompleteResponse>(harness_.Completion("w", incarnation_, grant));
    }
    held_ = harness_.Lease("w", incarnation_);
    auto database = *Database::Open(folder_ / "data" / "db");
    Store(*database);
    return database;
  }

  static std::vector<Row> AllRows(const fs::path& data) {
    auto database = Database::OpenReadOnly(data / "db");
    EXPECT_TRUE(database.ok()) << database.status();
    std::vector<Row> rows;
    for (int table = 0; table <= static_cast<int>(Table::kEvents); ++table) {
      EXPECT_TRUE((*database)
                      ->VisitRows(static_cast<Table>(table),
                                  [&](const std::string& key, const std::string& value) {
                                    rows.push_back({static_cast<Table>(table), key, value});
                                    return absl::OkStatus();
                                  })
                      .ok());
    }
    return rows;
  }

  static void Append(const fs::path& file, const std::string& bytes) {
    std::ofstream(file, std::ios::app | std::ios::binary) << bytes;
  }

  const fs::path folder_ = fs::temp_directory_path() / ("rsidiff-backup-" + RandomId());
  CoreHarness harness_;
  std::map<std::pair<Table, std::string>, std::string> stored_;
  uint64_t incarnation_ = 0;
  std::vector<v1::Grant> held_;
};

TEST_F(BackupTest, HoldsEveryRowOfItsMoment) {
  auto database = RunUnderWay();
  auto manifest = WriteBackup(*database, folder_ / "backup", absl::Now());
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->cluster_id(), "test-cluster");
  EXPECT_EQ(manifest->epoch(), 1);
  EXPECT_TRUE(VerifyBackup(folder_ / "backup").ok());
  EXPECT_EQ(WriteBackup(*database, folder_ / "backup", absl::Now()).status().code(),
            absl::StatusCode::kAlreadyExists);
  size_t rows = harness_.disk().size();
  ASSERT_TRUE(database->Write({{Table::kRequests, "later", "x"}}, Database::Durability::kSync).ok());
  EXPECT_EQ(AllRows(folder_ / "backup").size(), rows);
  EXPECT_TRUE(VerifyBackup(folder_ / "backup").ok()) << "reading it changed it";
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 2) << "something unfinished was left";
}

TEST_F(BackupTest, IsWholeWhileWritesGoOn) {
  auto database = RunUnderWay();
  std::atomic<bool> stop{false};
  // Each batch writes the same number into two tables: a torn copy would hold two different ones.
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) {
      std::string number = absl::StrCat(i);
      ASSERT_TRUE(database
                      ->Write({{Table::kRequests, "pair", number}, {Table::kEvents, "pair", number}},
                              Database::Durability::kWal)
                      .ok());
    }
  });
  for (int backup = 0; backup < 5; ++backup) {
    fs::path path = folder_ / absl::StrCat("backup-", backup);
    auto written = WriteBackup(*database, path, absl::Now());
    ASSERT_TRUE(written.ok()) << written.status();
    auto copy = Database::OpenReadOnly(path / "db");
    ASSERT_TRUE(copy.ok()) << copy.status();
    EXPECT_EQ(*(*copy)->Read(Table::kRequests, "pair"), *(*copy)->Read(Table::kEvents, "pair"));
  }
  stop = true;
  writer.join();
}

TEST_F(BackupTest, RestoredDatabaseRefusesEveryOldTokenAndGoesOn) {
  auto database = RunUnderWay();
  ASSERT_TRUE(WriteBackup(*database, folder_ / "backup", absl::Now()).ok());
  // After the backup: another start, and a lease that the backup does not know.
  harness_.Restart();
  harness_.Heartbeat("w", incarnation_, held_);
  uint64_t late = harness_.Register("late");
  std::vector<v1::Grant> unknown = harness_.Lease("late", late);
  ASSERT_EQ(unknown.size(), 1);

  auto report = RestoreBackup(folder_ / "backup", folder_ / "new", absl::Now());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->leases_ended, 1);
  EXPECT_EQ(report->workers_dropped, 1);
  std::vector<Row> rows = AllRows(folder_ / "new");
  EXPECT_TRUE(ToStatus(CheckRows(rows, CheckScope::kWhole)).ok())
      << ToStatus(CheckRows(rows, CheckScope::kWhole));

  auto recovered = Core::Recover({}, rows, harness_.now());
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  Core& core = *recovered->first;
  auto call = [&](Request request) {
    StepResult result = core.Step(harness_.now(), {1, std::move(request)});
    return result.replies.empty() ? absl::StatusOr<Response>(absl::UnknownError("no answer"))
                                  : std::move(result.replies[0].response);
  };
  // The old processes do not get in with what they hold, nor do the same names under old incarnations.
  EXPECT_EQ(call(harness_.Completion("w", incarnation_, held_[0])).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(call(harness_.Completion("late", late, unknown[0])).status().code(), absl::StatusCode::kNotFound);
  v1::RegisterRequest hello;
  hello.set_request_id("hello");
  hello.set_name("w");
  hello.set_protocol_version(kProtocolVersion);
  hello.set_incarnation(incarnation_);
  v1::HeldLease* claim = hello.add_held();
  claim->set_token(held_[0].token());
  *claim->mutable_task() = held_[0].task();
  auto registered = call(hello);
  ASSERT_TRUE(registered.ok()) << registered.status();
  const auto& response = std::get<v1::RegisterResponse>(*registered);
  EXPECT_GT(response.incarnation(), late);
  ASSERT_EQ(response.dropped_tokens_size(), 1);
  EXPECT_EQ(call(harness_.Completion("w", response.incarnation(), held_[0])).status().code(),
            absl::StatusCode::kAborted);
  v1::LeaseRequest lease = RequestForWork("lease", "w", response.incarnation());
  auto leased = call(lease);
  ASSERT_TRUE(leased.ok());
  EXPECT_GT(std::get<v1::LeaseResponse>(*leased).grants(0).token(), unknown[0].token());
}

TEST_F(BackupTest, DamagedBackupsAreRefusedByFile) {
  auto database = RunUnderWay();
  auto manifest = *WriteBackup(*database, folder_ / "good", absl::Now());
  auto damaged = [&](const std::string& name) {
    fs::copy(folder_ / "good", folder_ / name, fs::copy_options::recursive);
    return folder_ / name / "db";
  };
  auto error = [&](const std::string& name) {
    auto restored = RestoreBackup(folder_ / name, folder_ / ("into-" + name), absl::Now());
    EXPECT_FALSE(fs::exists(folder_ / ("into-" + name) / "db"));
    return std::string(restored.status().message());
  };
  for (const auto& file : manifest.files()) {
    SCOPED_TRACE(file.path());
    fs::path db = damaged("longer-" + file.path());
    Append(db / file.path(), "x");
    EXPECT_THAT(error("longer-" + file.path()), HasSubstr(file.path() + " has "));
    db = damaged("gone-" + file.path());
    fs::remove(db / file.path());
    EXPECT_THAT(error("gone-" + file.path()), HasSubstr(file.path() + " is missing"));
    if (file.size() == 0) continue;
    db = damaged("flipped-" + file.path());
    std::string bytes = *ReadFile(db / file.path());
    bytes[bytes.size() / 2] ^= 1;
    fs::remove(db / file.path());
    Append(db / file.path(), bytes);
    EXPECT_THAT(error("flipped-" + file.path()), HasSubstr(file.path() + " has digest"));
  }
  Append(damaged("more") / "000099.log", "x");
  EXPECT_THAT(error("more"), HasSubstr("000099.log is not in backup.json"));
  fs::resize_file(damaged("torn").parent_path() / "backup.json", 40);
  EXPECT_THAT(error("torn"), HasSubstr("backup.json"));
  fs::remove(damaged("bare").parent_path() / "backup.json");
  EXPECT_THAT(error("bare"), HasSubstr("no backup in"));
  fs::path outside = damaged("outside").parent_path() / "backup.json";
  std::string json = *ReadFile(outside);
  json.replace(json.find("\"CURRENT\""), 9, "\"../x\"");
  fs::remove(outside);
  Append(outside, json);
  EXPECT_THAT(error("outside"), HasSubstr("outside the backup"));
}

TEST_F(BackupTest, RestoresIntoAnEmptyFolderOnlyAndAgainAfterACrash) {
  auto database = RunUnderWay();
  ASSERT_TRUE(WriteBackup(*database, folder_ / "backup", absl::Now()).ok());
  fs::create_directories(folder_ / "used");
  Append(folder_ / "used" / "keep.txt", "mine");
  auto refused = RestoreBackup(folder_ / "backup", folder_ / "used", absl::Now());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("keep.txt"));

  fs::create_directories(folder_ / "cut" / "db.restoring");
  Append(folder_ / "cut" / "db.restoring" / "CURRENT", "half");
  EXPECT_THAT(std::string(CheckNoUnfinishedRestore(folder_ / "cut").message()),
              HasSubstr("restore it again"));
  EXPECT_TRUE(RestoreBackup(folder_ / "backup", folder_ / "cut", absl::Now()).ok());
  EXPECT_TRUE(CheckNoUnfinishedRestore(folder_ / "cut").ok());
}

TEST_F(BackupTest, UnfinishedBackupsAreRemoved) {
  auto database = RunUnderWay();
  ASSERT_TRUE(WriteBackup(*database, folder_ / "backups" / "one", absl::Now()).ok());
  fs::create_directories(folder_ / "backups" / ".unfinished-two-abc" / "db");
  ASSERT_TRUE(RemoveUnfinishedBackups(folder_ / "backups").ok());
  EXPECT_TRUE(fs::exists(folder_ / "backups" / "one" / "backup.json"));
  EXPECT_FALSE(fs::exists(folder_ / "backups" / ".unfinished-two-abc"));
  EXPECT_TRUE(RemoveUnfinishedBackups(folder_ / "none").ok());
}

TEST(BackupNameTest, StaysInItsFolder) {
  EXPECT_TRUE(IsBackupName("20260131T235959.042Z"));
  EXPECT_TRUE(IsBackupName("before-upgrade_1.2"));
  for (const char* bad : {"", ".", "..", "../x", "a/b", ".hidden", "a b"})
    EXPECT_FALSE(IsBackupName(bad)) << bad;
}

TEST_F(BackupTest, OfflineReadingIsRefusedWhileACoordinatorRuns) {
  auto database = RunUnderWay();
  auto second = Database::OpenReadOnly(folder_ / "data" / "db");
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  database.reset();
  auto reader = Database::OpenReadOnly(folder_ / "data" / "db");
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ(Database::Open(folder_ / "data" / "db").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Database::OpenReadOnly(folder_ / "nothing").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace rsidiff::coordinator
