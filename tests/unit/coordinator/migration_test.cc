// Databases of earlier schemas, and backups of them.
#include "coordinator/state/migration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "coordinator/state/backup.h"
#include "coordinator/state/check.h"
#include "coordinator/state/judgement_block.h"
#include "coordinator/state/tables.h"
#include "google/protobuf/util/json_util.h"
#include "rocksdb/db.h"
#include "tests/unit/coordinator/core_harness.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Disk = std::map<std::pair<Table, std::string>, std::string>;

/// A run whose rounds draw twice `per_prompt` samples.
v1::SubmitRunRequest LargeRun(uint32_t rounds, uint32_t per_prompt, uint32_t keep) {
  v1::SubmitRunRequest request = SmallRun("submit", rounds);
  request.mutable_spec()->mutable_sampling()->set_samples_per_prompt(per_prompt);
  request.mutable_spec()->mutable_sampling()->set_chunk(100);
  request.mutable_spec()->mutable_selection()->set_keep(keep);
  return request;
}

/// A run of two rounds, which are judged in blocks of 1,024 and 776 samples.
void WorkOnManySamples(CoreHarness& harness) {
  const uint64_t incarnation = harness.Register("w");
  harness.Ok<v1::SubmitRunResponse>(LargeRun(/*rounds=*/2, /*per_prompt=*/900, /*keep=*/600));
  harness.Work("w", incarnation);
}

void SetSchema(Disk& disk, uint32_t schema) {
  std::string& row = disk[{Table::kMeta, std::string(kMetaKey)}];
  v1::MetaRecord meta;
  meta.ParseFromString(row);
  meta.set_schema_version(schema);
  row = DeterministicBytes(meta);
}

/// What schema 1 stored in the place of `disk`, of which the blocks before `moved` are moved already.
Disk AsSchemaOne(const CoreHarness& harness, uint32_t moved) {
  Disk disk = harness.disk();
  std::set<std::pair<uint64_t, uint32_t>> rounds;
  for (const auto& [where, value] : harness.disk()) {
    if (where.first != Table::kJudgements) continue;
    KeyReader key(where.second);
    const uint64_t run_id = key.Take(8);
    const auto round = static_cast<uint32_t>(key.Take(4));
    rounds.emplace(run_id, round);
    if (key.Take(4) >= moved) disk.erase(where);
  }
  for (const auto& [run_id, round] : rounds) {
    for (const v1::SampleRecord& sample : harness.Samples(run_id, round)) {
      if (sample.index() / kJudgementBlock < moved) continue;
      disk[{Table::kSamples, SampleKey(run_id, round, v1::PURPOSE_TRAINING, sample.index())}] =
          DeterministicBytes(sample);
    }
  }
  SetSchema(disk, 1);
  return disk;
}

/// The judgements of a round, in one list.
std::vector<Judgement> JudgementsOf(const Disk& disk, uint64_t run_id, uint32_t round) {
  std::vector<Judgement> judgements;
  for (uint32_t block = 0; disk.count({Table::kJudgements, JudgementKey(run_id, round, block)}) > 0;
       ++block) {
    EXPECT_EQ(judgements.size(), size_t{block} * kJudgementBlock)
        << "a block before " << block << " is short";
    const auto more = ParseBlock(disk.at({Table::kJudgements, JudgementKey(run_id, round, block)}));
    EXPECT_TRUE(more.ok()) << more.status();
    if (more.ok()) judgements.insert(judgements.end(), more->begin(), more->end());
  }
  return judgements;
}

/// Round 1 of run 2, which selected from 5,000 samples. Of those schema 1 stored `kept` only, and their
/// blocks before `moved` are moved already.
Disk SharedRound(const std::vector<uint32_t>& kept, uint32_t moved) {
  Disk disk;
  SetSchema(disk, 1);
  v1::RoundRecord round;
  round.set_run_id(2);
  round.set_round(1);
  round.mutable_selection()->set_samples(5'000);
  disk[{Table::kRounds, RoundKey(2, 1)}] = DeterministicBytes(round);
  std::map<uint32_t, std::vector<Judgement>> blocks;
  for (uint32_t index : kept) {
    v1::SampleRecord sample;
    sample.set_index(index);
    if (index / kJudgementBlock < moved) {
      std::vector<Judgement>& block = blocks[index / kJudgementBlock];
      block.resize(index % kJudgementBlock + 1);
      block.back().reward = index;
      block.back().selected = true;
    } else {
      sample.set_reward(index);
      sample.set_selected(true);
      sample.set_reason("kept");
    }
    disk[{Table::kSamples, SampleKey(2, 1, v1::PURPOSE_TRAINING, index)}] = DeterministicBytes(sample);
  }
  for (const auto& [block, judgements] : blocks) {
    disk[{Table::kJudgements, JudgementKey(2, 1, block)}] = DeterministicBytes(ToBlock(judgements));
  }
  return disk;
}

std::vector<Row> Rows(const Disk& disk) {
  std::vector<Row> rows;
  for (const auto& [where, value] : disk) rows.push_back({where.first, where.second, value});
  return rows;
}

std::set<std::string> Artifacts(const std::vector<Row>& rows) {
  std::set<std::string> digests;
  for (const auto& [digest, use] : CheckRows(rows, CheckScope::kWhole).artifacts) digests.insert(digest);
  return digests;
}

absl::Status Check(const std::vector<Row>& rows) {
  return ToStatus(CheckRows(rows, CheckScope::kWhole));
}

class MigrationTest : public ::testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove_all(folder_); }

  /// A database of the rows, written without our code, and without a table judgements that has no row.
  static void WriteDatabase(const Disk& disk, const std::filesystem::path& folder) {
    std::filesystem::create_directories(folder);
    rocksdb::Options options;
    options.create_if_missing = true;
    rocksdb::DB* opened = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(options, folder.string(), &opened).ok());
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
  void WriteDatabase(const Disk& disk) const { WriteDatabase(disk, folder_); }

  /// What is in the database once it was opened for writing.
  Disk Migrated() const {
    auto database = Database::Open(folder_);
    EXPECT_TRUE(database.ok()) << database.status();
    if (!database.ok()) return {};
    Disk disk;
    const auto rows = (*database)->ReadAll();
    EXPECT_TRUE(rows.ok()) << rows.status();
    for (const Row& row : *rows) disk[{row.table, row.key}] = row.value;
    return disk;
  }

  /// What is in a database that is only read.
  static std::vector<Row> ReadOnly(const std::filesystem::path& folder) {
    auto database = Database::OpenReadOnly(folder);
    EXPECT_TRUE(database.ok()) << database.status();
    if (!database.ok()) return {};
    EXPECT_FALSE((*database)->Read(Table::kJudgements, "no such row")->has_value());
    auto rows = (*database)->ReadAll();
    EXPECT_TRUE(rows.ok()) << rows.status();
    return *std::move(rows);
  }

  /// The manifest that an earlier version wrote beside the database in `backup`/db.
  static void WriteManifest(const std::filesystem::path& backup) {
    v1::BackupManifest manifest;
    manifest.set_format(1);
    manifest.set_cluster_id("test-cluster");
    manifest.set_schema_version(1);
    for (const auto& entry : std::filesystem::directory_iterator(backup / "db")) {
      if (entry.path().filename() == "LOCK") continue;
      v1::BackupManifest::File* file = manifest.add_files();
      file->set_path(entry.path().filename().string());
      file->set_size(entry.file_size());
      file->set_digest(*FileSha256Hex(entry.path()));
    }
    std::string json;
    ASSERT_TRUE(google::protobuf::util::MessageToJsonString(manifest, &json).ok());
    ASSERT_TRUE(WriteFileAtomically(backup / "backup.json", json).ok());
  }

  const std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("rsidiff-migration-" + RandomId());
};

TEST_F(MigrationTest, JudgementsMoveOutOfTheSamplesRows) {
  CoreHarness harness;
  WorkOnManySamples(harness);
  const Disk old = AsSchemaOne(harness, /*moved=*/0);
  ASSERT_EQ(harness.disk().size() - old.size(), 4u) << "two blocks a round";
  WriteDatabase(old);
  EXPECT_TRUE(Migrated() == harness.disk());
}

TEST_F(MigrationTest, OneThatWasCutOffIsFinishedAndNotReadBefore) {
  CoreHarness harness;
  WorkOnManySamples(harness);
  WriteDatabase(AsSchemaOne(harness, /*moved=*/1));
  const absl::Status refused = Database::OpenReadOnly(folder_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr(folder_.string()), HasSubstr("from schema 1 to 2"),
                    HasSubstr("Start rsidiff-coordinator")));
  EXPECT_TRUE(Migrated() == harness.disk());
  EXPECT_TRUE(Database::OpenReadOnly(folder_).ok());
}

TEST_F(MigrationTest, GapsBetweenTheSamplesOfASharedRoundAreFilled) {
  const std::vector<uint32_t> kept = {5, 2'100, 2'101, 4'000};
  for (uint32_t moved : {0, 1, 3, 4}) {
    SCOPED_TRACE(absl::StrCat(moved, " blocks are moved"));
    WriteDatabase(SharedRound(kept, moved));
    const Disk migrated = Migrated();
    const std::vector<Judgement> judgements = JudgementsOf(migrated, 2, 1);
    ASSERT_EQ(judgements.size(), 4'001) << "up to the last sample, in blocks without gaps";
    for (uint32_t index = 0; index < judgements.size(); ++index) {
      const bool selected = std::count(kept.begin(), kept.end(), index) > 0;
      ASSERT_EQ(judgements[index].selected, selected) << index;
      ASSERT_EQ(judgements[index].reward, selected ? index : 0) << index;
    }
    std::filesystem::remove_all(folder_);
  }
}

TEST_F(MigrationTest, ASampleBeyondItsRoundIsNamed) {
  WriteDatabase(SharedRound({5, 6'000}, /*moved=*/0));
  const absl::Status refused = Database::Open(folder_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("table judgements, key 00000000000000020000000100000005: "));
}

TEST_F(MigrationTest, AForkThatSharesLargeRoundsGoesOn) {
  CoreHarness harness;
  const uint64_t incarnation = harness.Register("w");
  const uint64_t parent =
      harness.Ok<v1::SubmitRunResponse>(LargeRun(/*rounds=*/1, /*per_prompt=*/1'100, /*keep=*/1)).run_id();
  harness.Work("w", incarnation);
  harness.Pass(absl::Seconds(1));  // shared rounds are told by having begun before the fork
  v1::ForkRunRequest request;
  request.set_request_id("fork");
  request.set_run_id(parent);
  request.set_from_round(1);
  request.set_rounds(2);
  const uint64_t fork = harness.Ok<v1::SubmitRunResponse>(ForkRun{request, {}}).run_id();
  WriteDatabase(AsSchemaOne(harness, /*moved=*/0));

  // Its two samples have another block before them or between them.
  const Disk migrated = Migrated();
  std::vector<Judgement> shared = JudgementsOf(harness.disk(), fork, 1);
  ASSERT_EQ(shared.size(), 2'200);
  while (!shared.back().selected) shared.pop_back();
  for (Judgement& judgement : shared) {
    if (!judgement.selected) judgement = {};
  }
  EXPECT_GT(shared.size(), kJudgementBlock);
  EXPECT_EQ(DeterministicBytes(ToBlock(JudgementsOf(migrated, fork, 1))),
            DeterministicBytes(ToBlock(shared)));
  EXPECT_TRUE(Check(Rows(migrated)).ok()) << Check(Rows(migrated));

  harness.Work("w", incarnation);
  const v1::RunStatus expected = harness.GetRun(fork);
  ASSERT_EQ(expected.run().state(), v1::RUN_STATE_SUCCEEDED);
  harness.RestartOn(migrated);
  EXPECT_TRUE(harness.MemoryEqualsDisk());
  harness.Work("w", incarnation);
  const v1::RunStatus run = harness.GetRun(fork);
  ASSERT_EQ(run.run().state(), v1::RUN_STATE_SUCCEEDED);
  ASSERT_EQ(run.rounds(2).manifest_parts_size(), 1);
  EXPECT_EQ(run.rounds(2).manifest_parts(0), expected.rounds(2).manifest_parts(0)) << "it replays round 1";
  EXPECT_TRUE(harness.CheckDisk().ok()) << harness.CheckDisk();
}

TEST_F(MigrationTest, OneThatIsNotMovedIsReadAsItIs) {
  CoreHarness harness;
  WorkOnManySamples(harness);
  const Disk old = AsSchemaOne(harness, /*moved=*/0);
  WriteDatabase(old);
  const std::vector<Row> rows = ReadOnly(folder_);
  EXPECT_EQ(rows.size(), old.size());
  EXPECT_TRUE(Check(rows).ok()) << Check(rows);
  EXPECT_EQ(Artifacts(rows), Artifacts(Rows(harness.disk())));
  EXPECT_TRUE(Migrated() == harness.disk()) << "reading it changed it";
}

TEST_F(MigrationTest, ABackupIsReadAndRestoredWithoutAChangeToIt) {
  CoreHarness harness;
  WorkOnManySamples(harness);
  const std::filesystem::path backup = folder_ / "backup";
  WriteDatabase(AsSchemaOne(harness, /*moved=*/0), backup / "db");
  WriteManifest(backup);
  EXPECT_TRUE(Check(ReadOnly(backup / "db")).ok()) << Check(ReadOnly(backup / "db"));
  EXPECT_TRUE(VerifyBackup(backup).ok()) << VerifyBackup(backup).status();

  const auto restored = RestoreBackup(backup, folder_ / "data", harness.now());
  ASSERT_TRUE(restored.ok()) << restored.status();
  const std::vector<Row> rows = ReadOnly(folder_ / "data" / "db");
  EXPECT_TRUE(Check(rows).ok()) << Check(rows);
  EXPECT_EQ(Artifacts(rows), Artifacts(Rows(harness.disk())));
  Disk disk;
  for (const Row& row : rows) disk[{row.table, row.key}] = row.value;
  for (const auto& [where, value] : harness.disk()) {
    if (where.first == Table::kJudgements || where.first == Table::kSamples) {
      ASSERT_TRUE(disk.count(where) > 0 && disk.at(where) == value) << TableName(where.first);
    }
  }
  EXPECT_TRUE(VerifyBackup(backup).ok()) << VerifyBackup(backup).status();
}

}  // namespace
}  // namespace rsidiff::coordinator
