#include "coordinator/state/database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "common/base/digest.h"
#include "common/base/file.h"
#include "coordinator/state/core.h"
#include "coordinator/state/tables.h"
#include "rocksdb/db.h"
#include "tests/unit/coordinator/core_harness.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class DatabaseTest : public ::testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<Database> Open(const std::string& cluster_id = "") {
    auto database = Database::Open(folder_, {cluster_id});
    EXPECT_TRUE(database.ok()) << database.status();
    return database.ok() ? std::move(*database) : nullptr;
  }

  static RowWrite Meta(uint32_t schema_version) {
    v1::MetaRecord meta;
    meta.set_schema_version(schema_version);
    meta.set_cluster_id("ours");
    return {Table::kMeta, std::string(kMetaKey), meta.SerializeAsString()};
  }

  /// What every file of the folder holds, by its name.
  std::map<std::string, std::string> Files() const {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      files[entry.path().filename()] = ReadFile(entry.path()).value();
    }
    return files;
  }

  /// A database that another program made, with a row in its table `family`.
  void WriteForeign(const std::string& family) {
    rocksdb::Options options;
    options.create_if_missing = true;
    rocksdb::DB* opened = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(options, folder_.string(), &opened).ok());
    const std::unique_ptr<rocksdb::DB> db(opened);
    rocksdb::ColumnFamilyHandle* handle = db->DefaultColumnFamily();
    if (family != rocksdb::kDefaultColumnFamilyName) {
      ASSERT_TRUE(db->CreateColumnFamily({}, family, &handle).ok());
    }
    ASSERT_TRUE(db->Put({}, handle, "key", "value").ok());
    if (handle == db->DefaultColumnFamily()) return;
    ASSERT_TRUE(db->DestroyColumnFamilyHandle(handle).ok());
  }

  std::filesystem::path folder_ = std::filesystem::temp_directory_path() / ("rsidiff-database-" + RandomId());
};

TEST_F(DatabaseTest, RowsAreThereAfterReopening) {
  {
    auto database = Open();
    ASSERT_TRUE(database
                    ->Write({Meta(1), {Table::kWorkers, "w", "x"}, {Table::kWorkers, "v", "y"}},
                            Database::Durability::kSync)
                    .ok());
    ASSERT_TRUE(database->Write({{Table::kWorkers, "w", std::nullopt}}, Database::Durability::kWal).ok());
  }
  auto rows = Open("ours")->ScanForRecovery();
  ASSERT_TRUE(rows.ok());
  ASSERT_EQ(rows->size(), 2);
  EXPECT_EQ((*rows)[1].key, "v");
}

TEST_F(DatabaseTest, SecondCoordinatorIsRefused) {
  auto first = Open();
  auto second = Database::Open(folder_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr("another coordinator uses " + folder_.string()));
}

TEST_F(DatabaseTest, ForeignClusterAndNewerSchemaAreRefusedUntouched) {
  ASSERT_TRUE(Open()->Write({Meta(1)}, Database::Durability::kSync).ok());
  auto before = Files();
  EXPECT_EQ(Database::Open(folder_, {"theirs"}).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Files(), before);
  ASSERT_TRUE(Open("ours")->Write({Meta(kSchemaVersion + 1)}, Database::Durability::kSync).ok());
  before = Files();
  EXPECT_THAT(std::string(Database::Open(folder_, {"ours"}).status().message()), HasSubstr("newer version"));
  EXPECT_EQ(Files(), before);
}

TEST_F(DatabaseTest, DatabaseOfAnotherProgramIsRefusedUntouched) {
  for (const char* family : {"default", "theirs"}) {
    WriteForeign(family);
    const auto before = Files();
    const absl::Status refused = Database::Open(folder_).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
    EXPECT_THAT(std::string(refused.message()),
                AllOf(HasSubstr(folder_.string()), HasSubstr("not one of rsidiff's"), HasSubstr(family)));
    EXPECT_EQ(Files(), before);
    std::filesystem::remove_all(folder_);
  }
}

TEST_F(DatabaseTest, CoreComesBackFromDiskWithoutFinishedSamples) {
  CoreHarness harness;
  uint64_t incarnation = harness.Register("w");
  harness.Ok<v1::SubmitRunResponse>(SmallRun("submit", 1));
  harness.Work("w", incarnation);
  auto database = Open();
  std::vector<RowWrite> writes;
  for (const auto& [where, value] : harness.disk()) writes.push_back({where.first, where.second, value});
  ASSERT_TRUE(database->Write(writes, Database::Durability::kSync).ok());

  auto rows = database->ScanForRecovery();
  ASSERT_TRUE(rows.ok());
  auto recovered = Core::Recover({}, *rows, harness.now());
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  EXPECT_EQ(recovered->first->Dump().size(), harness.core().Dump().size());

  auto samples = database->ReadSamples(1, 1, v1::PURPOSE_TRAINING, 2, 3);
  ASSERT_TRUE(samples.ok());
  ASSERT_EQ(samples->size(), 3);
  EXPECT_EQ((*samples)[0].index(), 2);
  EXPECT_EQ(database->ReadSamples(1, 1, v1::PURPOSE_TRAINING, 0, 500)->size(), kSmallRunTrainingSamples);
  EXPECT_EQ(database->ReadSamples(1, 0, v1::PURPOSE_EVALUATION, 0, 500)->size(), kSmallRunEvaluationSamples);
  EXPECT_TRUE(database->ReadSamples(2, 0, v1::PURPOSE_EVALUATION, 0, 500)->empty());

  auto events = database->ReadEvents(1, 0, 2);
  ASSERT_EQ(events->size(), 2);
  EXPECT_THAT((*events)[0].text(), HasSubstr("submitted"));
  auto more = database->ReadEvents(0, (*events)[1].sequence(), 1'000);
  EXPECT_EQ((*more)[0].sequence(), (*events)[1].sequence() + 1);
}

}  // namespace
}  // namespace rsidiff::coordinator
