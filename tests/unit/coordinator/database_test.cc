#include "coordinator/state/database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "common/base/digest.h"
#include "coordinator/state/core.h"
#include "coordinator/state/tables.h"
#include "tests/unit/coordinator/core_harness.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

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

TEST_F(DatabaseTest, ForeignClusterAndNewerSchemaAreRefused) {
  ASSERT_TRUE(Open()->Write({Meta(1)}, Database::Durability::kSync).ok());
  EXPECT_EQ(Database::Open(folder_, {"theirs"}).status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(Open("ours")->Write({Meta(kSchemaVersion + 1)}, Database::Durability::kSync).ok());
  EXPECT_THAT(std::string(Database::Open(folder_, {"ours"}).status().message()), HasSubstr("newer version"));
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
