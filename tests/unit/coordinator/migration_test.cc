// Databases of earlier schemas.
#include "coordinator/state/migration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <vector>

#include "common/base/digest.h"
#include "coordinator/state/judgement_block.h"
#include "coordinator/state/tables.h"
#include "rocksdb/db.h"
#include "tests/unit/coordinator/core_harness.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Disk = std::map<std::pair<Table, std::string>, std::string>;

constexpr uint32_t kPerPrompt = 900;

/// A run of two rounds, which are judged in blocks of 1,024 and 776 samples.
void WorkOnManySamples(CoreHarness& harness) {
  const uint64_t incarnation = harness.Register("w");
  v1::SubmitRunRequest request = SmallRun("submit", 2);
  request.mutable_spec()->mutable_sampling()->set_samples_per_prompt(kPerPrompt);
  request.mutable_spec()->mutable_sampling()->set_chunk(100);
  request.mutable_spec()->mutable_selection()->set_keep(600);
  harness.Ok<v1::SubmitRunResponse>(request);
  harness.Work("w", incarnation);
}

/// What schema 1 stored in the place of `disk`, of which the blocks before `moved` are moved already.
Disk AsSchemaOne(const CoreHarness& harness, uint32_t moved) {
  Disk disk = harness.disk();
  for (uint32_t round : {1, 2}) {
    for (const v1::SampleRecord& sample : harness.Samples(1, round)) {
      if (sample.index() / kJudgementBlock < moved) continue;
      disk[{Table::kSamples, SampleKey(1, round, v1::PURPOSE_TRAINING, sample.index())}] =
          DeterministicBytes(sample);
      disk.erase({Table::kJudgements, JudgementKey(1, round, sample.index() / kJudgementBlock)});
    }
  }
  v1::MetaRecord meta;
  meta.ParseFromString(disk.at({Table::kMeta, std::string(kMetaKey)}));
  meta.set_schema_version(1);
  disk[{Table::kMeta, std::string(kMetaKey)}] = DeterministicBytes(meta);
  return disk;
}

class MigrationTest : public ::testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove_all(folder_); }

  /// A database of the rows, written without our code, and without a table that has no row.
  void WriteDatabase(const Disk& disk) {
    rocksdb::Options options;
    options.create_if_missing = true;
    rocksdb::DB* opened = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(options, folder_.string(), &opened).ok());
    const std::unique_ptr<rocksdb::DB> db(opened);
    std::map<Table, rocksdb::ColumnFamilyHandle*> families;
    for (Table table : kTables) {
      const auto row = disk.lower_bound({table, ""});
      const bool any = row != disk.end() && row->first.first == table;
      if (!any && table == Table::kJudgements) continue;
      ASSERT_TRUE(db->CreateColumnFamily({}, std::string(TableName(table)), &families[table]).ok());
    }
    for (const auto& [where, value] : disk) {
      ASSERT_TRUE(db->Put({}, families.at(where.first), where.second, value).ok());
    }
    for (const auto& [table, family] : families) ASSERT_TRUE(db->DestroyColumnFamilyHandle(family).ok());
  }

  Disk ReadDatabase() const {
    Disk disk;
    auto database = Database::Open(folder_);
    EXPECT_TRUE(database.ok()) << database.status();
    for (Table table : kTables) {
      EXPECT_TRUE((*database)
                      ->VisitRows(table,
                                  [&](const std::string& key, const std::string& value) {
                                    disk[{table, key}] = value;
                                    return absl::OkStatus();
                                  })
                      .ok());
    }
    return disk;
  }

  std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("rsidiff-migration-" + RandomId());
};

TEST_F(MigrationTest, JudgementsMoveOutOfTheSamplesRows) {
  CoreHarness harness;
  WorkOnManySamples(harness);
  const Disk old = AsSchemaOne(harness, /*moved=*/0);
  ASSERT_EQ(harness.disk().size() - old.size(), 4u) << "two blocks a round";
  WriteDatabase(old);
  Disk migrated = ReadDatabase();
  migrated[{Table::kMeta, std::string(kMetaKey)}] = harness.disk().at({Table::kMeta, std::string(kMetaKey)});
  EXPECT_TRUE(migrated == harness.disk());
}

TEST_F(MigrationTest, OneThatWasCutOffIsFinished) {
  CoreHarness harness;
  WorkOnManySamples(harness);
  WriteDatabase(AsSchemaOne(harness, /*moved=*/1));
  Disk migrated = ReadDatabase();
  migrated[{Table::kMeta, std::string(kMetaKey)}] = harness.disk().at({Table::kMeta, std::string(kMetaKey)});
  EXPECT_TRUE(migrated == harness.disk());
}

TEST_F(MigrationTest, ReaderAsksForACoordinator) {
  CoreHarness harness;
  WorkOnManySamples(harness);
  WriteDatabase(AsSchemaOne(harness, /*moved=*/0));
  const absl::Status refused = Database::OpenReadOnly(folder_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr(folder_.string()), HasSubstr("no table judgements"),
                    HasSubstr("Start rsidiff-coordinator")));
  ReadDatabase();
  EXPECT_TRUE(Database::OpenReadOnly(folder_).ok());
}

}  // namespace
}  // namespace rsidiff::coordinator
