#include "coordinator/state/backup.h"

#include <algorithm>
#include <map>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "common/base/fault_point.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "coordinator/state/tables.h"
#include "google/protobuf/util/json_util.h"

namespace rsidiff::coordinator {
namespace fs = std::filesystem;

namespace {

constexpr uint32_t kFormat = 1;
constexpr char kManifestName[] = "backup.json";
constexpr char kDatabaseName[] = "db";
constexpr char kUnfinishedMark[] = ".unfinished-";
constexpr char kRestoringName[] = "db.restoring";
constexpr uint64_t kMaxEpoch = (uint64_t{1} << 24) - 1;  // what a token has room for

/// Removes a folder that was not finished.
class UnfinishedFolder {
 public:
  explicit UnfinishedFolder(fs::path path) : path_(std::move(path)) {}
  ~UnfinishedFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  UnfinishedFolder(const UnfinishedFolder&) = delete;
  UnfinishedFolder& operator=(const UnfinishedFolder&) = delete;

  const fs::path& path() const { return path_; }
  void Keep() { path_.clear(); }

 private:
  fs::path path_;
};

absl::StatusOr<std::vector<std::string>> FileNames(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  if (error) return ErrnoStatus(error.value(), absl::StrCat("cannot list ", folder.string()));
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<v1::MetaRecord> ReadMeta(const Database& database) {
  v1::MetaRecord meta;
  RSIDIFF_ASSIGN_OR_RETURN(std::optional<std::string> value,
                           database.Read(Table::kMeta, std::string(kMetaKey)));
  if (!value || !meta.ParseFromString(*value)) return absl::DataLossError("table meta cannot be read");
  return meta;
}

absl::StatusOr<v1::BackupManifest> Describe(const fs::path& checkpoint, absl::Time now) {
  v1::BackupManifest manifest;
  {
    RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<Database> copy, Database::OpenReadOnly(checkpoint));
    RSIDIFF_ASSIGN_OR_RETURN(v1::MetaRecord meta, ReadMeta(*copy));
    manifest.set_cluster_id(meta.cluster_id());
    manifest.set_schema_version(meta.schema_version());
    manifest.set_epoch(meta.epoch());
  }
  std::error_code ignored;
  fs::remove(checkpoint / "LOCK", ignored);  // reading made it
  manifest.set_format(kFormat);
  manifest.set_version(RSIDIFF_VERSION);
  manifest.set_time_us(absl::ToUnixMicros(now));
  RSIDIFF_ASSIGN_OR_RETURN(std::vector<std::string> names, FileNames(checkpoint));
  for (const std::string& name : names) {
    v1::BackupManifest::File* file = manifest.add_files();
    file->set_path(name);
    std::error_code error;
    file->set_size(fs::file_size(checkpoint / name, error));
    if (error) return ErrnoStatus(error.value(), absl::StrCat("cannot read ", (checkpoint / name).string()));
    RSIDIFF_ASSIGN_OR_RETURN(*file->mutable_digest(), FileSha256Hex(checkpoint / name));
  }
  return manifest;
}

std::string ManifestJson(const v1::BackupManifest& manifest) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  std::string json;
  // Fails only for malformed Any fields, which the message does not have.
  (void)google::protobuf::util::MessageToJsonString(manifest, &json, options);
  return json;
}

absl::StatusOr<v1::BackupManifest> ReadManifest(const fs::path& folder) {
  fs::path path = folder / kManifestName;
  absl::StatusOr<std::string> json = ReadFile(path);
  if (absl::IsNotFound(json.status())) {
    return absl::NotFoundError(absl::StrCat("no backup in ", folder.string(), ": it has no ", kManifestName));
  }
  RSIDIFF_RETURN_IF_ERROR(json.status());
  v1::BackupManifest manifest;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;  // a newer format is told by its number
  auto parsed = google::protobuf::util::JsonStringToMessage(*json, &manifest, options);
  if (!parsed.ok()) {
    return absl::DataLossError(
        absl::StrCat("cannot read ", path.string(), ": ", std::string(parsed.message())));
  }
  if (manifest.format() != kFormat || manifest.schema_version() > kSchemaVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("backup ", folder.string(), " has format ", manifest.format(), " and schema ",
                     manifest.schema_version(), "; this program reads format ", kFormat,
                     " and schemas up to ", kSchemaVersion));
  }
  return manifest;
}

absl::Status VerifyFile(const fs::path& folder, const v1::BackupManifest::File& file) {
  fs::path path = folder / file.path();
  if (file.path().empty() || absl::StrContains(file.path(), "/") || file.path() == "..") {
    return absl::DataLossError(absl::StrCat(kManifestName, " names a file outside the backup: \"",
                                            file.path().substr(0, 200), "\""));
  }
  std::error_code error;
  uint64_t size = fs::file_size(path, error);
  if (error) return absl::DataLossError(absl::StrCat("backup file ", path.string(), " is missing"));
  if (size != file.size()) {
    return absl::DataLossError(
        absl::StrCat("backup file ", path.string(), " has ", size, " bytes, not ", file.size()));
  }
  RSIDIFF_ASSIGN_OR_RETURN(std::string digest, FileSha256Hex(path));
  if (digest == file.digest()) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("backup file ", path.string(), " has digest ", digest, ", not ", file.digest()));
}

/// Ends the task's lease, if it has one; true if so.
bool EndLease(v1::TaskRecord& task) {
  if (task.state() != v1::TASK_STATE_LEASED && task.state() != v1::TASK_STATE_UNKNOWN) return false;
  task.set_state(v1::TASK_STATE_PENDING);
  task.clear_token();
  task.clear_worker();
  task.clear_incarnation();
  task.clear_gang();
  return true;
}

absl::Status MoveCounters(v1::MetaRecord& meta) {
  if (meta.epoch() + kRestoreEpochStride > kMaxEpoch) {
    return absl::OutOfRangeError(absl::StrCat("the epoch cannot grow any more: ", meta.epoch()));
  }
  meta.set_epoch(meta.epoch() + kRestoreEpochStride);
  meta.set_next_incarnation(meta.next_incarnation() + kRestoreIdStride);
  meta.set_next_generation(meta.next_generation() + kRestoreIdStride);
  meta.set_next_event(meta.next_event() + kRestoreIdStride);
  meta.set_next_run_id(meta.next_run_id() + kRestoreRunStride);
  return absl::OkStatus();
}

RowWrite EventRow(v1::MetaRecord& meta, absl::Time now, std::string text) {
  v1::EventRecord event;
  event.set_sequence(meta.next_event());
  event.set_time_us(absl::ToUnixMicros(now));
  event.set_text(std::move(text));
  meta.set_next_event(meta.next_event() + 1);
  return {Table::kEvents, EventKey(event.sequence()), DeterministicBytes(event)};
}

/// Makes the copied database one that nobody holds anything of.
absl::StatusOr<RestoreReport> Fence(Database& database, const v1::BackupManifest& manifest, absl::Time now) {
  RestoreReport report;
  report.manifest = manifest;
  std::vector<RowWrite> rows;
  RSIDIFF_RETURN_IF_ERROR(database.VisitRows(
      Table::kTasks, [&](const std::string& key, const std::string& value) -> absl::Status {
        v1::TaskRecord task;
        if (!task.ParseFromString(value)) return absl::DataLossError("table tasks holds a bad value");
        if (!EndLease(task)) return absl::OkStatus();
        ++report.leases_ended;
        rows.push_back({Table::kTasks, key, DeterministicBytes(task)});
        return absl::OkStatus();
      }));
  RSIDIFF_RETURN_IF_ERROR(database.VisitRows(
      Table::kWorkers, [&](const std::string& key, const std::string& value) -> absl::Status {
        v1::WorkerRecord worker;
        if (!worker.ParseFromString(value)) return absl::DataLossError("table workers holds a bad value");
        if (worker.state() != v1::WORKER_STATE_ACTIVE && worker.state() != v1::WORKER_STATE_DRAINING) {
          return absl::OkStatus();
        }
        worker.set_state(v1::WORKER_STATE_LOST);
        ++report.workers_dropped;
        rows.push_back({Table::kWorkers, key, DeterministicBytes(worker)});
        return absl::OkStatus();
      }));
  // An answer from before the backup may be of a lease that has ended now.
  RSIDIFF_RETURN_IF_ERROR(
      database.VisitRows(Table::kRequests, [&](const std::string& key, const std::string&) -> absl::Status {
        rows.push_back({Table::kRequests, key, std::nullopt});
        return absl::OkStatus();
      }));
  RSIDIFF_ASSIGN_OR_RETURN(v1::MetaRecord meta, ReadMeta(database));
  RSIDIFF_RETURN_IF_ERROR(MoveCounters(meta));
  std::string taken =
      absl::FormatTime(absl::RFC3339_sec, absl::FromUnixMicros(manifest.time_us()), absl::UTCTimeZone());
  rows.push_back(EventRow(meta, now, absl::StrCat("restored from the backup of ", taken)));
  rows.push_back({Table::kMeta, std::string(kMetaKey), DeterministicBytes(meta)});
  report.epoch = meta.epoch();
  RSIDIFF_RETURN_IF_ERROR(database.Write(rows, Database::Durability::kSync));
  return report;
}

absl::Status CheckEmpty(const fs::path& data) {
  RSIDIFF_ASSIGN_OR_RETURN(std::vector<std::string> names, FileNames(data));
  for (const std::string& name : names) {
    // "lost+found" is on every fresh volume; the other is an earlier restore that was cut off.
    if (name == "lost+found" || name == kRestoringName) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("a backup is restored into an empty folder; ", data.string(), " has ", name));
  }
  return absl::OkStatus();
}

}  // namespace

bool IsBackupName(absl::string_view name) {
  return !name.empty() && name.size() <= 63 && name[0] != '.' &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-'; });
}

absl::StatusOr<v1::BackupManifest> WriteBackup(const Database& database, const fs::path& folder,
                                               absl::Time now) {
  std::error_code ignored;
  if (fs::exists(folder, ignored)) {
    return absl::AlreadyExistsError(absl::StrCat("there is a backup ", folder.string()));
  }
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(folder.parent_path()));
  UnfinishedFolder unfinished(folder.parent_path() /
                              absl::StrCat(kUnfinishedMark, folder.filename().string(), "-", RandomId()));
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(unfinished.path()));
  RSIDIFF_RETURN_IF_ERROR(database.WriteCheckpoint(unfinished.path() / kDatabaseName));
  FaultPoint("backup.checkpointed");
  RSIDIFF_ASSIGN_OR_RETURN(v1::BackupManifest manifest, Describe(unfinished.path() / kDatabaseName, now));
  RSIDIFF_RETURN_IF_ERROR(SyncFolder(unfinished.path() / kDatabaseName));
  RSIDIFF_RETURN_IF_ERROR(WriteFileAtomically(unfinished.path() / kManifestName, ManifestJson(manifest)));
  FaultPoint("backup.described");
  RSIDIFF_RETURN_IF_ERROR(CommitFile(unfinished.path(), folder));
  unfinished.Keep();
  FaultPoint("backup.named");
  return manifest;
}

absl::Status RemoveUnfinishedBackups(const fs::path& backups) {
  std::error_code error;
  if (!fs::exists(backups, error)) return absl::OkStatus();
  RSIDIFF_ASSIGN_OR_RETURN(std::vector<std::string> names, FileNames(backups));
  for (const std::string& name : names) {
    if (!absl::StartsWith(name, kUnfinishedMark)) continue;
    fs::remove_all(backups / name, error);
    if (error) return ErrnoStatus(error.value(), absl::StrCat("cannot remove ", (backups / name).string()));
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::BackupManifest> VerifyBackup(const fs::path& folder) {
  RSIDIFF_ASSIGN_OR_RETURN(v1::BackupManifest manifest, ReadManifest(folder));
  std::set<std::string> listed;
  for (const v1::BackupManifest::File& file : manifest.files()) {
    RSIDIFF_RETURN_IF_ERROR(VerifyFile(folder / kDatabaseName, file));
    listed.insert(file.path());
  }
  RSIDIFF_ASSIGN_OR_RETURN(std::vector<std::string> names, FileNames(folder / kDatabaseName));
  for (const std::string& name : names) {
    if (name == "LOCK") continue;  // left by a check of the backup
    if (listed.count(name) == 0) {
      return absl::DataLossError(absl::StrCat("backup file ", (folder / kDatabaseName / name).string(),
                                              " is not in ", kManifestName));
    }
  }
  return manifest;
}

absl::StatusOr<RestoreReport> RestoreBackup(const fs::path& backup, const fs::path& data, absl::Time now) {
  RSIDIFF_ASSIGN_OR_RETURN(v1::BackupManifest manifest, VerifyBackup(backup));
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(data));
  RSIDIFF_RETURN_IF_ERROR(CheckEmpty(data));
  // Inside `data`, which may be a mounted volume. A coordinator that finds it refuses to start.
  fs::path restoring = data / kRestoringName;
  std::error_code error;
  fs::remove_all(restoring, error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("cannot remove ", restoring.string()));
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(restoring));
  RSIDIFF_RETURN_IF_ERROR(SyncFolder(data));
  for (const v1::BackupManifest::File& file : manifest.files()) {
    RSIDIFF_RETURN_IF_ERROR(CopyFile(backup / kDatabaseName / file.path(), restoring / file.path()));
    // Once more, and now what was copied: the backup may be on a medium that answers differently.
    RSIDIFF_RETURN_IF_ERROR(VerifyFile(restoring, file));
  }
  FaultPoint("restore.copied");
  RestoreReport report;
  {
    DatabaseOptions options;
    options.cluster_id = manifest.cluster_id();
    RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::Open(restoring, options));
    RSIDIFF_ASSIGN_OR_RETURN(report, Fence(*database, manifest, now));
  }
  FaultPoint("restore.fenced");
  RSIDIFF_RETURN_IF_ERROR(CommitFile(restoring, data / kDatabaseName));
  FaultPoint("restore.named");
  return report;
}

absl::Status CheckNoUnfinishedRestore(const fs::path& data) {
  std::error_code ignored;
  if (!fs::exists(data / kRestoringName, ignored)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("a backup was not restored completely into ", data.string(), ": restore it again"));
}

}  // namespace rsidiff::coordinator
