#include "coordinator/state/database.h"

#include <cstdarg>
#include <cstdio>
#include <functional>
#include <iterator>
#include <map>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "coordinator/state/tables.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"
#include "rocksdb/filter_policy.h"
#include "rocksdb/options.h"
#include "rocksdb/table.h"
#include "rocksdb/utilities/checkpoint.h"
#include "rocksdb/write_batch.h"

namespace rsidiff::coordinator {
namespace {

rocksdb::Slice AsSlice(absl::string_view text) {
  return {text.data(), text.size()};
}

absl::Status ToStatus(const rocksdb::Status& status, absl::string_view what) {
  if (status.ok()) return absl::OkStatus();
  std::string message = absl::StrCat(what, ": ", status.ToString());
  if (status.IsNoSpace()) return absl::ResourceExhaustedError(message);
  if (status.IsCorruption()) return absl::DataLossError(message);
  return absl::InternalError(message);
}

rocksdb::DBOptions StorageOptions(rocksdb::Env* env) {
  rocksdb::DBOptions options;
  if (env != nullptr) options.env = env;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.max_background_jobs = 2;
  options.max_open_files = -1;
  options.max_total_wal_size = 256 << 20;
  return options;
}

rocksdb::ColumnFamilyOptions FamilyOptions(const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  rocksdb::ColumnFamilyOptions options;
  options.write_buffer_size = 16 << 20;
  options.max_write_buffer_number = 2;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

/// The smallest key greater than every key that starts with `prefix`; empty when there is none.
std::string PrefixEnd(std::string prefix) {
  while (!prefix.empty() && prefix.back() == '\xff') prefix.pop_back();
  if (!prefix.empty()) ++prefix.back();
  return prefix;
}

}  // namespace

namespace {

/// Keeps writers out of a database's folder, as RocksDB does where it writes.
class FolderLock {
 public:
  static absl::StatusOr<std::unique_ptr<FolderLock>> Take(const std::filesystem::path& folder);
  explicit FolderLock(rocksdb::FileLock* lock) : lock_(lock) {}
  ~FolderLock() { rocksdb::Env::Default()->UnlockFile(lock_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  rocksdb::FileLock* const lock_;
};

/// Takes RocksDB's own warnings, which it would otherwise write into a file of the folder: on a full disk
/// that file's writer ends the process by an assertion.
class Warnings : public rocksdb::Logger {
 public:
  explicit Warnings(std::function<void(const std::string&)> report)
      : rocksdb::Logger(rocksdb::InfoLogLevel::WARN_LEVEL), report_(std::move(report)) {}
  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    if (!report_) return;
    char text[1024];
    std::vsnprintf(text, sizeof text, format, arguments);
    report_(absl::StrCat("RocksDB: ", absl::StripAsciiWhitespace(text)));
  }
  void LogHeader(const char*, va_list) override {}  // every option, at each start

 private:
  const std::function<void(const std::string&)> report_;
};

}  // namespace

class Database::Impl {
 public:
  Impl(rocksdb::DB* db, std::vector<rocksdb::ColumnFamilyHandle*> families, std::unique_ptr<FolderLock> lock)
      : lock_(std::move(lock)), db_(db), families_(std::move(families)) {}

  ~Impl() {
    for (rocksdb::ColumnFamilyHandle* family : families_) db_->DestroyColumnFamilyHandle(family);
    db_->Close();
  }

  /// FAILED_PRECONDITION unless it is empty or `cluster_id`'s and of a known schema.
  absl::Status CheckOwner(const std::filesystem::path& folder, const std::string& cluster_id) const;

  rocksdb::DB& db() const { return *db_; }
  rocksdb::ColumnFamilyHandle* family(Table table) const { return families_[static_cast<size_t>(table)]; }

  /// Calls `visit(key, value)` for the rows of `prefix` from `start` on, until it returns false or an
  /// error.
  template <class Visit>
  absl::Status Scan(Table table, const std::string& prefix, const std::string& start, Visit visit) const {
    std::string end = PrefixEnd(prefix);
    rocksdb::Slice bound(end);
    rocksdb::ReadOptions options;
    if (!end.empty()) options.iterate_upper_bound = &bound;
    std::unique_ptr<rocksdb::Iterator> row(db_->NewIterator(options, family(table)));
    for (row->Seek(start); row->Valid(); row->Next()) {
      RSIDIFF_ASSIGN_OR_RETURN(bool more, visit(row->key().ToString(), row->value().ToString()));
      if (!more) return absl::OkStatus();
    }
    return ToStatus(row->status(), absl::StrCat("reading table ", TableName(table)));
  }

 private:
  const std::unique_ptr<FolderLock> lock_;  // reading only; RocksDB itself locks what it writes
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> families_;
};

namespace {

absl::Status InUse(const std::filesystem::path& folder, const rocksdb::Status& status) {
  return absl::FailedPreconditionError(
      absl::StrCat("another coordinator uses ", folder.string(), " (", status.ToString(), ")"));
}

absl::StatusOr<std::unique_ptr<FolderLock>> FolderLock::Take(const std::filesystem::path& folder) {
  rocksdb::FileLock* lock = nullptr;
  rocksdb::Status taken = rocksdb::Env::Default()->LockFile((folder / "LOCK").string(), &lock);
  if (!taken.ok()) return InUse(folder, taken);
  return std::make_unique<FolderLock>(lock);
}

absl::Status OpenError(const std::filesystem::path& folder, const rocksdb::Status& opened) {
  std::string text = opened.ToString();
  // The file LOCK, but not a path that happens to have the word in it.
  if (opened.IsIOError() && (absl::StrContains(text, "/LOCK: ") || absl::StrContains(text, "lock hold by"))) {
    return InUse(folder, opened);
  }
  if (opened.IsInvalidArgument() && absl::StrContains(text, "olumn famil")) {
    return absl::FailedPreconditionError(
        absl::StrCat("database ", folder.string(), " is not one of rsidiff's: ", text));
  }
  return ToStatus(opened, absl::StrCat("opening database ", folder.string()));
}

std::vector<rocksdb::ColumnFamilyDescriptor> Families() {
  auto cache = rocksdb::NewLRUCache(48 << 20);
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  // RocksDB insists on a family named "default"; it stays empty and comes last.
  for (Table table : kTables) descriptors.emplace_back(std::string(TableName(table)), FamilyOptions(cache));
  descriptors.emplace_back(rocksdb::kDefaultColumnFamilyName, FamilyOptions(cache));
  return descriptors;
}

absl::Status CheckMeta(const std::string& value, const std::filesystem::path& folder,
                       const std::string& cluster_id) {
  v1::MetaRecord meta;
  if (!meta.ParseFromString(value)) {
    return absl::DataLossError(absl::StrCat("table meta of database ", folder.string(), " cannot be read"));
  }
  if (meta.schema_version() > kSchemaVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("database ", folder.string(), " was written by a newer version: schema ",
                     meta.schema_version(), ", this program knows ", kSchemaVersion));
  }
  if (!cluster_id.empty() && meta.cluster_id() != cluster_id) {
    return absl::FailedPreconditionError(absl::StrCat("database ", folder.string(), " belongs to cluster ",
                                                      meta.cluster_id(), ", not ", cluster_id));
  }
  return absl::OkStatus();
}

template <class Message>
absl::Status ParseValue(Table table, const std::string& value, Message& message) {
  if (message.ParseFromString(value)) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("table ", TableName(table), " holds a value that cannot be read"));
}

}  // namespace

absl::Status Database::Impl::CheckOwner(const std::filesystem::path& folder,
                                        const std::string& cluster_id) const {
  std::string meta;
  rocksdb::Status read = db_->Get({}, family(Table::kMeta), AsSlice(kMetaKey), &meta);
  if (read.IsNotFound()) return absl::OkStatus();
  RSIDIFF_RETURN_IF_ERROR(ToStatus(read, absl::StrCat("reading database ", folder.string())));
  return CheckMeta(meta, folder, cluster_id);
}

Database::Database(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Database::~Database() = default;

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::filesystem::path& folder,
                                                         const DatabaseOptions& options) {
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(folder));
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  rocksdb::DB* db = nullptr;
  rocksdb::DBOptions storage = StorageOptions(options.env);
  storage.info_log = std::make_shared<Warnings>(options.report);
  rocksdb::Status opened = rocksdb::DB::Open(storage, folder.string(), Families(), &families, &db);
  if (!opened.ok()) return OpenError(folder, opened);
  auto impl = std::make_unique<Impl>(db, std::move(families), nullptr);
  RSIDIFF_RETURN_IF_ERROR(impl->CheckOwner(folder, options.cluster_id));
  return std::unique_ptr<Database>(new Database(std::move(impl)));
}

absl::StatusOr<std::unique_ptr<Database>> Database::OpenReadOnly(const std::filesystem::path& folder) {
  std::error_code ignored;
  if (!std::filesystem::exists(folder / "CURRENT", ignored)) {
    return absl::NotFoundError(absl::StrCat("no database in ", folder.string()));
  }
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<FolderLock> lock, FolderLock::Take(folder));
  rocksdb::DBOptions options = StorageOptions(nullptr);
  options.create_if_missing = false;
  options.create_missing_column_families = false;
  options.info_log = std::make_shared<Warnings>(nullptr);
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  rocksdb::DB* db = nullptr;
  rocksdb::Status opened = rocksdb::DB::OpenForReadOnly(options, folder.string(), Families(), &families, &db);
  if (!opened.ok()) return OpenError(folder, opened);
  auto impl = std::make_unique<Impl>(db, std::move(families), std::move(lock));
  RSIDIFF_RETURN_IF_ERROR(impl->CheckOwner(folder, ""));
  return std::unique_ptr<Database>(new Database(std::move(impl)));
}

absl::Status Database::Write(const std::vector<RowWrite>& rows, Durability durability) {
  if (rows.empty()) return absl::OkStatus();
  rocksdb::WriteBatch batch;
  for (const RowWrite& row : rows) {
    rocksdb::ColumnFamilyHandle* family = impl_->family(row.table);
    rocksdb::Status added =
        row.value.has_value() ? batch.Put(family, row.key, *row.value) : batch.Delete(family, row.key);
    RSIDIFF_RETURN_IF_ERROR(ToStatus(added, "collecting rows"));
  }
  rocksdb::WriteOptions options;
  options.sync = durability == Durability::kSync;
  return ToStatus(impl_->db().Write(options, &batch), absl::StrCat("writing ", rows.size(), " rows"));
}

absl::StatusOr<std::vector<Row>> Database::ScanForRecovery() const {
  std::vector<Row> rows;
  std::map<uint64_t, v1::RunRecord> runs;
  std::vector<v1::RoundRecord> rounds;
  for (Table table : kTables) {
    if (table == Table::kSamples || table == Table::kPrompts || table == Table::kEvents) continue;
    RSIDIFF_RETURN_IF_ERROR(
        impl_->Scan(table, "", "", [&](std::string key, std::string value) -> absl::StatusOr<bool> {
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
    }
  }
  return rows;
}

absl::StatusOr<std::vector<Row>> Database::ReadRows(Table table, const std::string& prefix) const {
  std::vector<Row> rows;
  RSIDIFF_RETURN_IF_ERROR(impl_->Scan(
      table, prefix, prefix, [&rows, table](std::string key, std::string value) -> absl::StatusOr<bool> {
        rows.push_back({table, std::move(key), std::move(value)});
        return true;
      }));
  return rows;
}

absl::Status Database::VisitRows(
    Table table, const std::function<absl::Status(const std::string&, const std::string&)>& visit) const {
  return impl_->Scan(table, "", "",
                     [&visit](const std::string& key, const std::string& value) -> absl::StatusOr<bool> {
                       RSIDIFF_RETURN_IF_ERROR(visit(key, value));
                       return true;
                     });
}

absl::Status Database::WriteCheckpoint(const std::filesystem::path& folder) const {
  rocksdb::Checkpoint* made = nullptr;
  RSIDIFF_RETURN_IF_ERROR(
      ToStatus(rocksdb::Checkpoint::Create(&impl_->db(), &made), "preparing a checkpoint"));
  std::unique_ptr<rocksdb::Checkpoint> checkpoint(made);
  return ToStatus(checkpoint->CreateCheckpoint(folder.string()),
                  absl::StrCat("writing checkpoint ", folder.string()));
}

absl::StatusOr<std::optional<std::string>> Database::Read(Table table, const std::string& key) const {
  std::string value;
  rocksdb::Status read = impl_->db().Get({}, impl_->family(table), key, &value);
  if (read.IsNotFound()) return std::nullopt;
  RSIDIFF_RETURN_IF_ERROR(ToStatus(read, absl::StrCat("reading table ", TableName(table))));
  return value;
}

absl::StatusOr<std::vector<v1::SampleRecord>> Database::ReadSamples(uint64_t run_id, uint32_t round,
                                                                    v1::Purpose purpose, uint32_t start,
                                                                    uint32_t limit) const {
  std::vector<v1::SampleRecord> samples;
  if (limit == 0) return samples;
  RSIDIFF_RETURN_IF_ERROR(impl_->Scan(
      Table::kSamples, SamplePrefix(run_id, round, purpose), SampleKey(run_id, round, purpose, start),
      [&](const std::string&, const std::string& value) -> absl::StatusOr<bool> {
        RSIDIFF_RETURN_IF_ERROR(ParseValue(Table::kSamples, value, samples.emplace_back()));
        return samples.size() < limit;
      }));
  return samples;
}

absl::StatusOr<std::vector<v1::EventRecord>> Database::ReadEvents(uint64_t run_id, uint64_t after,
                                                                  uint32_t limit) const {
  std::vector<v1::EventRecord> events;
  if (limit == 0) return events;
  RSIDIFF_RETURN_IF_ERROR(
      impl_->Scan(Table::kEvents, "", EventKey(after + 1),
                  [&](const std::string&, const std::string& value) -> absl::StatusOr<bool> {
                    v1::EventRecord event;
                    RSIDIFF_RETURN_IF_ERROR(ParseValue(Table::kEvents, value, event));
                    if (run_id == 0 || event.run_id() == run_id) events.push_back(std::move(event));
                    return events.size() < limit;
                  }));
  return events;
}

}  // namespace rsidiff::coordinator
