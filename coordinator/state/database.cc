#include "coordinator/state/database.h"

#include <iterator>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "coordinator/state/migration.h"
#include "coordinator/state/storage.h"
#include "coordinator/state/tables.h"
#include "rocksdb/db.h"
#include "rocksdb/utilities/checkpoint.h"
#include "rocksdb/write_batch.h"

namespace rsidiff::coordinator {
namespace {

/// The smallest key greater than every key that starts with `prefix`; empty when there is none.
std::string PrefixEnd(std::string prefix) {
  while (!prefix.empty() && prefix.back() == '\xff') prefix.pop_back();
  if (!prefix.empty()) ++prefix.back();
  return prefix;
}

/// Calls `visit(key, value)` for the rows of `prefix` from `start` on, until it returns false or an error.
template <class Visit>
absl::Status Scan(const Storage& storage, Table table, const std::string& prefix, const std::string& start,
                  Visit visit) {
  if (storage.family(table) == nullptr) return absl::OkStatus();
  std::string end = PrefixEnd(prefix);
  rocksdb::Slice bound(end);
  rocksdb::ReadOptions options;
  if (!end.empty()) options.iterate_upper_bound = &bound;
  std::unique_ptr<rocksdb::Iterator> row(storage.db().NewIterator(options, storage.family(table)));
  for (row->Seek(start); row->Valid(); row->Next()) {
    RSIDIFF_ASSIGN_OR_RETURN(bool more, visit(row->key().ToString(), row->value().ToString()));
    if (!more) return absl::OkStatus();
  }
  return ToStatus(row->status(), absl::StrCat("reading table ", TableName(table)));
}

template <class Message>
absl::Status ParseValue(Table table, const std::string& value, Message& message) {
  if (message.ParseFromString(value)) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("table ", TableName(table), " holds a value that cannot be read"));
}

}  // namespace

Database::Database(std::unique_ptr<Storage> storage) : storage_(std::move(storage)) {}
Database::~Database() = default;

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::filesystem::path& folder,
                                                         const DatabaseOptions& options) {
  RSIDIFF_ASSIGN_OR_RETURN(auto storage, Storage::OpenForWriting(folder, options));
  std::unique_ptr<Database> database(new Database(std::move(storage)));
  RSIDIFF_RETURN_IF_ERROR(MigrateSchema(*database));
  return database;
}

absl::StatusOr<std::unique_ptr<Database>> Database::OpenReadOnly(const std::filesystem::path& folder) {
  RSIDIFF_ASSIGN_OR_RETURN(auto storage, Storage::OpenForReading(folder));
  return std::unique_ptr<Database>(new Database(std::move(storage)));
}

absl::Status Database::Write(const std::vector<RowWrite>& rows, Durability durability) {
  if (rows.empty()) return absl::OkStatus();
  rocksdb::WriteBatch batch;
  for (const RowWrite& row : rows) {
    rocksdb::ColumnFamilyHandle* family = storage_->family(row.table);
    rocksdb::Status added =
        row.value.has_value() ? batch.Put(family, row.key, *row.value) : batch.Delete(family, row.key);
    RSIDIFF_RETURN_IF_ERROR(ToStatus(added, "collecting rows"));
  }
  rocksdb::WriteOptions options;
  options.sync = durability == Durability::kSync;
  return ToStatus(storage_->db().Write(options, &batch), absl::StrCat("writing ", rows.size(), " rows"));
}

absl::StatusOr<std::vector<Row>> Database::ScanForRecovery() const {
  std::vector<Row> rows;
  std::map<uint64_t, v1::RunRecord> runs;
  std::vector<v1::RoundRecord> rounds;
  for (Table table : kTables) {
    if (table == Table::kJudgements || table == Table::kSamples || table == Table::kPrompts ||
        table == Table::kEvents) {
      continue;
    }
    RSIDIFF_RETURN_IF_ERROR(
        Scan(*storage_, table, "", "", [&](std::string key, std::string value) -> absl::StatusOr<bool> {
          if (table == Table::kRuns) {
            v1::RunRecord run;
            RSIDIFF_RETURN_IF_ERROR(ParseValue(table, value, run));
            runs[run.id()] = std::move(run);
          } else if (table == Table::kRounds) {
            v1::RoundRecord round;
            RSIDIFF_RETURN_IF_ERROR(ParseValue(table, value, round));
            rounds.push_back(std::move(round));
          }
          rows.push_back({table, std::move(key), std::move(value)});
          return true;
        }));
  }
  auto add = [&](Table table, const std::string& prefix) -> absl::Status {
    RSIDIFF_ASSIGN_OR_RETURN(std::vector<Row> more, ReadRows(table, prefix));
    rows.insert(rows.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
    return absl::OkStatus();
  };
  for (const auto& [id, run] : runs) {
    if (!HasEnded(run)) RSIDIFF_RETURN_IF_ERROR(add(Table::kPrompts, RunKey(id)));
  }
  for (const v1::RoundRecord& round : rounds) {
    for (v1::Purpose purpose : {v1::PURPOSE_TRAINING, v1::PURPOSE_EVALUATION}) {
      if (NeededSamples(runs[round.run_id()], round.phase(), purpose) == SamplesNeeded::kNone) continue;
      RSIDIFF_RETURN_IF_ERROR(add(Table::kSamples, SamplePrefix(round.run_id(), round.round(), purpose)));
      if (purpose == v1::PURPOSE_EVALUATION) continue;
      RSIDIFF_RETURN_IF_ERROR(add(Table::kJudgements, RoundKey(round.run_id(), round.round())));
    }
  }
  return rows;
}

absl::StatusOr<std::vector<Row>> Database::ReadRows(Table table, const std::string& prefix) const {
  std::vector<Row> rows;
  RSIDIFF_RETURN_IF_ERROR(Scan(*storage_, table, prefix, prefix,
                               [&rows, table](std::string key, std::string value) -> absl::StatusOr<bool> {
                                 rows.push_back({table, std::move(key), std::move(value)});
                                 return true;
                               }));
  return rows;
}

absl::StatusOr<std::vector<Row>> Database::ReadAll() const {
  std::vector<Row> rows;
  for (Table table : kTables) {
    RSIDIFF_ASSIGN_OR_RETURN(std::vector<Row> more, ReadRows(table, ""));
    rows.insert(rows.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }
  return rows;
}

absl::Status Database::VisitRows(
    Table table, const std::function<absl::Status(const std::string&, const std::string&)>& visit) const {
  return Scan(*storage_, table, "", "",
              [&visit](const std::string& key, const std::string& value) -> absl::StatusOr<bool> {
                RSIDIFF_RETURN_IF_ERROR(visit(key, value));
                return true;
              });
}

absl::Status Database::WriteCheckpoint(const std::filesystem::path& folder) const {
  rocksdb::Checkpoint* made = nullptr;
  RSIDIFF_RETURN_IF_ERROR(
      ToStatus(rocksdb::Checkpoint::Create(&storage_->db(), &made), "preparing a checkpoint"));
  std::unique_ptr<rocksdb::Checkpoint> checkpoint(made);
  return ToStatus(checkpoint->CreateCheckpoint(folder.string()),
                  absl::StrCat("writing checkpoint ", folder.string()));
}

absl::StatusOr<std::optional<std::string>> Database::Read(Table table, const std::string& key) const {
  if (storage_->family(table) == nullptr) return std::nullopt;
  std::string value;
  rocksdb::Status read = storage_->db().Get({}, storage_->family(table), key, &value);
  if (read.IsNotFound()) return std::nullopt;
  RSIDIFF_RETURN_IF_ERROR(ToStatus(read, absl::StrCat("reading table ", TableName(table))));
  return value;
}

absl::StatusOr<std::vector<v1::SampleRecord>> Database::ReadSamples(uint64_t run_id, uint32_t round,
                                                                    v1::Purpose purpose, uint32_t start,
                                                                    uint32_t limit) const {
  std::vector<v1::SampleRecord> samples;
  if (limit == 0) return samples;
  RSIDIFF_RETURN_IF_ERROR(Scan(*storage_, Table::kSamples, SamplePrefix(run_id, round, purpose),
                               SampleKey(run_id, round, purpose, start),
                               [&](const std::string&, const std::string& value) -> absl::StatusOr<bool> {
                                 RSIDIFF_RETURN_IF_ERROR(
                                     ParseValue(Table::kSamples, value, samples.emplace_back()));
                                 return samples.size() < limit;
                               }));
  return samples;
}

absl::StatusOr<std::vector<v1::EventRecord>> Database::ReadEvents(uint64_t run_id, uint64_t after,
                                                                  uint32_t limit) const {
  std::vector<v1::EventRecord> events;
  if (limit == 0) return events;
  RSIDIFF_RETURN_IF_ERROR(Scan(*storage_, Table::kEvents, "", EventKey(after + 1),
                               [&](const std::string&, const std::string& value) -> absl::StatusOr<bool> {
                                 v1::EventRecord event;
                                 RSIDIFF_RETURN_IF_ERROR(ParseValue(Table::kEvents, value, event));
                                 if (run_id == 0 || event.run_id() == run_id)
                                   events.push_back(std::move(event));
                                 return events.size() < limit;
                               }));
  return events;
}

}  // namespace rsidiff::coordinator
