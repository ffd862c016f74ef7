#include "coordinator/state/storage.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <functional>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "coordinator/state/tables.h"
#include "rocksdb/env.h"
#include "rocksdb/filter_policy.h"
#include "rocksdb/options.h"
#include "rocksdb/table.h"

namespace rsidiff::coordinator {
namespace {

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

rocksdb::DBOptions WritingOptions(const DatabaseOptions& given) {
  rocksdb::DBOptions options;
  if (given.env != nullptr) options.env = given.env;
  options.info_log = std::make_shared<Warnings>(given.report);
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.max_background_jobs = 2;
  options.max_open_files = -1;
  // A start replays the log before anybody is served, half a second for 32 MiB: so a short one. What was
  // replayed has to go into tables then (RocksDB's default): a log that ends in a torn record would hide the
  // later ones from the start after that.
  options.max_total_wal_size = 4 << 20;
  return options;
}

rocksdb::DBOptions ReadingOptions(rocksdb::Env* env) {
  rocksdb::DBOptions options = WritingOptions({"", env, nullptr});
  options.create_if_missing = false;
  options.create_missing_column_families = false;
  return options;
}

rocksdb::ColumnFamilyOptions FamilyOptions(const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  rocksdb::ColumnFamilyOptions options;
  options.write_buffer_size = 16 << 20;
  options.max_write_buffer_number = 2;
  // A slice of a round's samples is a short range of keys: small files have few others written anew with it.
  options.target_file_size_base = 8 << 20;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

std::vector<rocksdb::ColumnFamilyDescriptor> Families() {
  auto cache = rocksdb::NewLRUCache(48 << 20);
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  // RocksDB insists on a family named "default"; it stays empty and comes last.
  for (Table table : kTables) descriptors.emplace_back(std::string(TableName(table)), FamilyOptions(cache));
  descriptors.emplace_back(rocksdb::kDefaultColumnFamilyName, FamilyOptions(cache));
  return descriptors;
}

absl::Status InUse(const std::filesystem::path& folder, const rocksdb::Status& status) {
  return absl::FailedPreconditionError(
      absl::StrCat("another coordinator uses ", folder.string(), " (", status.ToString(), ")"));
}

absl::Status NotOurs(const std::filesystem::path& folder, absl::string_view why) {
  return absl::FailedPreconditionError(
      absl::StrCat("database ", folder.string(), " is not one of rsidiff's: ", why));
}

absl::Status OpenError(const std::filesystem::path& folder, const rocksdb::Status& opened) {
  std::string text = opened.ToString();
  // The file LOCK, but not a path that happens to have the word in it.
  if (opened.IsIOError() && (absl::StrContains(text, "/LOCK: ") || absl::StrContains(text, "lock hold by"))) {
    return InUse(folder, opened);
  }
  if (opened.IsInvalidArgument() && absl::StrContains(text, "olumn famil")) return NotOurs(folder, text);
  return ToStatus(opened, absl::StrCat("opening database ", folder.string()));
}

/// False for a database of schema 1, which had no table judgements. FAILED_PRECONDITION: another one is
/// missing.
absl::StatusOr<bool> HasJudgements(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  const rocksdb::Status listed =
      rocksdb::DB::ListColumnFamilies(ReadingOptions(nullptr), folder.string(), &names);
  if (!listed.ok()) return OpenError(folder, listed);
  const std::set<std::string> there(names.begin(), names.end());
  auto has = [&there](Table table) { return there.count(std::string(TableName(table))) > 0; };
  if (!has(Table::kMeta)) return NotOurs(folder, "it has no table meta");
  for (Table table : kTables) {
    if (has(table) || table == Table::kJudgements) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("database ", folder.string(), " has no table ", TableName(table),
                     ": its making was cut off. Start rsidiff-coordinator on it, which adds it"));
  }
  return has(Table::kJudgements);
}

absl::Status CheckMeta(const v1::MetaRecord& meta, const std::filesystem::path& folder,
                       const std::string& cluster_id) {
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

/// Of the column families `names`, those that tell whose a database is: that of Table::kMeta, if it is there
/// already, and "default". FAILED_PRECONDITION: there is one that is none of ours.
absl::StatusOr<std::vector<rocksdb::ColumnFamilyDescriptor>> TellingFamilies(
    const std::filesystem::path& folder, const std::vector<std::string>& names) {
  const auto known = Families();
  std::vector<rocksdb::ColumnFamilyDescriptor> telling;
  for (const std::string& name : names) {
    auto family = std::find_if(known.begin(), known.end(), [&](const auto& one) { return one.name == name; });
    if (family == known.end()) return NotOurs(folder, absl::StrCat("it has a table \"", name, "\""));
    if (name == TableName(Table::kMeta)) telling.insert(telling.begin(), *family);
    if (name == rocksdb::kDefaultColumnFamilyName) telling.push_back(*family);
  }
  return telling;
}

}  // namespace

absl::Status ToStatus(const rocksdb::Status& status, absl::string_view what) {
  if (status.ok()) return absl::OkStatus();
  std::string message = absl::StrCat(what, ": ", status.ToString());
  if (status.IsNoSpace()) return absl::ResourceExhaustedError(message);
  if (status.IsCorruption()) return absl::DataLossError(message);
  return absl::InternalError(message);
}

/// Keeps writers out of a database's folder, as RocksDB does where it writes.
class Storage::FolderLock {
 public:
  static absl::StatusOr<std::unique_ptr<FolderLock>> Take(const std::filesystem::path& folder) {
    rocksdb::FileLock* lock = nullptr;
    rocksdb::Status taken = rocksdb::Env::Default()->LockFile((folder / "LOCK").string(), &lock);
    if (!taken.ok()) return InUse(folder, taken);
    return std::make_unique<FolderLock>(lock);
  }
  explicit FolderLock(rocksdb::FileLock* lock) : lock_(lock) {}
  ~FolderLock() { rocksdb::Env::Default()->UnlockFile(lock_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  rocksdb::FileLock* const lock_;
};

Storage::Storage(rocksdb::DB* db, std::vector<rocksdb::ColumnFamilyHandle*> families,
                 std::unique_ptr<FolderLock> lock)
    : lock_(std::move(lock)), db_(db), families_(std::move(families)) {}

Storage::~Storage() {
  for (rocksdb::ColumnFamilyHandle* family : families_) {
    if (family != nullptr) db_->DestroyColumnFamilyHandle(family);
  }
  db_->Close();
}

absl::StatusOr<std::unique_ptr<Storage>> Storage::OpenForWriting(const std::filesystem::path& folder,
                                                                 const DatabaseOptions& options) {
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(folder));
  RSIDIFF_RETURN_IF_ERROR(CheckBeforeWriting(folder, options));
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  rocksdb::DB* db = nullptr;
  rocksdb::Status opened =
      rocksdb::DB::Open(WritingOptions(options), folder.string(), Families(), &families, &db);
  if (!opened.ok()) return OpenError(folder, opened);
  auto storage = absl::WrapUnique(new Storage(db, std::move(families), nullptr));
  // Somebody else may have made it since it was looked at.
  RSIDIFF_RETURN_IF_ERROR(storage->CheckOwner(folder, options.cluster_id));
  return storage;
}

absl::StatusOr<std::unique_ptr<Storage>> Storage::OpenForReading(const std::filesystem::path& folder) {
  std::error_code ignored;
  if (!std::filesystem::exists(folder / "CURRENT", ignored)) {
    return absl::NotFoundError(absl::StrCat("no database in ", folder.string()));
  }
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<FolderLock> lock, FolderLock::Take(folder));
  RSIDIFF_ASSIGN_OR_RETURN(const bool has_judgements, HasJudgements(folder));
  constexpr auto kJudgementsPlace = static_cast<std::ptrdiff_t>(Table::kJudgements);
  std::vector<rocksdb::ColumnFamilyDescriptor> present = Families();
  if (!has_judgements) present.erase(present.begin() + kJudgementsPlace);
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  rocksdb::DB* db = nullptr;
  rocksdb::Status opened =
      rocksdb::DB::OpenForReadOnly(ReadingOptions(nullptr), folder.string(), present, &families, &db);
  if (!opened.ok()) return OpenError(folder, opened);
  if (!has_judgements) families.insert(families.begin() + kJudgementsPlace, nullptr);
  auto storage = absl::WrapUnique(new Storage(db, std::move(families), std::move(lock)));
  RSIDIFF_RETURN_IF_ERROR(storage->CheckOwner(folder, ""));
  RSIDIFF_RETURN_IF_ERROR(storage->CheckOneSchema(folder));
  return storage;
}

/// Refuses what must not be written to, before RocksDB has it open for writing: that alone changes files, and
/// would give another program's database our tables.
absl::Status Storage::CheckBeforeWriting(const std::filesystem::path& folder,
                                         const DatabaseOptions& options) {
  std::error_code ignored;
  if (!std::filesystem::exists(folder / "CURRENT", ignored)) return absl::OkStatus();
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<FolderLock> lock, FolderLock::Take(folder));
  const rocksdb::DBOptions reading = ReadingOptions(options.env);
  std::vector<std::string> names;
  rocksdb::Status listed = rocksdb::DB::ListColumnFamilies(reading, folder.string(), &names);
  if (!listed.ok()) return OpenError(folder, listed);
  RSIDIFF_ASSIGN_OR_RETURN(const auto telling, TellingFamilies(folder, names));
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  rocksdb::DB* db = nullptr;
  rocksdb::Status opened = rocksdb::DB::OpenForReadOnly(reading, folder.string(), telling, &families, &db);
  if (!opened.ok()) return OpenError(folder, opened);
  const Storage storage(db, std::move(families), std::move(lock));
  std::unique_ptr<rocksdb::Iterator> row(storage.db().NewIterator({}, storage.families_.back()));
  row->SeekToFirst();
  if (row->Valid()) return NotOurs(folder, "its default table has rows");
  RSIDIFF_RETURN_IF_ERROR(ToStatus(row->status(), absl::StrCat("reading database ", folder.string())));
  // Without the table of Table::kMeta it is one whose making was cut off.
  return telling.size() < 2 ? absl::OkStatus() : storage.CheckOwner(folder, options.cluster_id);
}

/// Absent in a database that is empty. DATA_LOSS: it cannot be parsed.
absl::StatusOr<std::optional<v1::MetaRecord>> Storage::ReadMeta(const std::filesystem::path& folder) const {
  std::string value;
  const std::string key(kMetaKey);
  rocksdb::Status read = db_->Get({}, family(Table::kMeta), key, &value);
  if (read.IsNotFound()) return std::nullopt;
  RSIDIFF_RETURN_IF_ERROR(ToStatus(read, absl::StrCat("reading database ", folder.string())));
  v1::MetaRecord meta;
  if (meta.ParseFromString(value)) return meta;
  return absl::DataLossError(absl::StrCat("table meta of database ", folder.string(), " cannot be read"));
}

/// FAILED_PRECONDITION unless it is empty or `cluster_id`'s and of a known schema.
absl::Status Storage::CheckOwner(const std::filesystem::path& folder, const std::string& cluster_id) const {
  RSIDIFF_ASSIGN_OR_RETURN(const std::optional<v1::MetaRecord> meta, ReadMeta(folder));
  return meta.has_value() ? CheckMeta(*meta, folder, cluster_id) : absl::OkStatus();
}

/// FAILED_PRECONDITION: a coordinator made the tables of this program's schema in a database of an earlier
/// one, and did not come to the end of moving rows there. What only reads cannot finish that.
absl::Status Storage::CheckOneSchema(const std::filesystem::path& folder) const {
  RSIDIFF_ASSIGN_OR_RETURN(const std::optional<v1::MetaRecord> meta, ReadMeta(folder));
  // A version of 0 is damage, which a check of the rows names.
  const bool earlier =
      meta.has_value() && meta->schema_version() > 0 && meta->schema_version() < kSchemaVersion;
  if (!earlier || family(Table::kJudgements) == nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("database ", folder.string(), " was being brought from schema ", meta->schema_version(),
                   " to ", kSchemaVersion, " when its coordinator ended. Start rsidiff-coordinator on it, ",
                   "which finishes that"));
}

}  // namespace rsidiff::coordinator
