#include "coordinator/service/prune_command.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/artifact/directory_store.h"
#include "common/artifact/folder.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/telemetry/log.h"
#include "coordinator/state/check.h"
#include "coordinator/state/database.h"
#include "rsidiff/v1/round.pb.h"

namespace rsidiff::coordinator {
namespace {

namespace fs = std::filesystem;
using Digests = std::set<std::string>;

struct Kind {
  uint64_t files = 0;
  uint64_t bytes = 0;
  void Add(uint64_t size) {
    ++files;
    bytes += size;
  }
};

struct PruneReport {
  Kind named;
  Kind young;
  Kind removed;
  int backups = 0;
  absl::Time counted_from;  // the age is counted back from here: now, or earlier
};

/// What must stay whatever its age, and from when on what is not named may be needed yet.
struct Needs {
  Digests named;
  absl::Time held_since = absl::InfiniteFuture();
  int backups = 0;
};

absl::Status Naming(const absl::Status& status, const fs::path& folder) {
  if (status.ok()) return status;
  return absl::Status(status.code(),
                      absl::StrCat("nothing is removed: ", folder.string(), ": ", status.message()));
}

/// Adds what the rows of a database name, with the files of the folders among it.
absl::Status AddNamed(const std::vector<Row>& rows, DirectoryStore& store, Digests& digests) {
  const CheckReport report = CheckRows(rows, CheckScope::kWhole);
  RSIDIFF_RETURN_IF_ERROR(ToStatus(report));
  for (const auto& [digest, use] : report.artifacts) {
    digests.insert(digest);
    if (use.kind == ArtifactUse::Kind::kFile) continue;
    RSIDIFF_ASSIGN_OR_RETURN(const v1::FolderManifest manifest, ReadFolderManifest(store, digest));
    for (const auto& file : manifest.files()) digests.insert(file.digest());
  }
  digests.insert(report.spare_artifacts.begin(), report.spare_artifacts.end());
  return absl::OkStatus();
}

/// When the oldest task that a worker holds was granted; the infinite future when none is held.
absl::Time OldestGrant(const std::vector<Row>& rows) {
  absl::Time oldest = absl::InfiniteFuture();
  const auto look = [&oldest](uint64_t token, int64_t granted_us) {
    if (token != 0) oldest = std::min(oldest, absl::FromUnixMicros(granted_us));
  };
  v1::TaskRecord task;
  for (const Row& row : rows) {
    if (row.table != Table::kTasks || !task.ParseFromString(row.value)) continue;
    look(task.token(), task.granted_us());
    for (const v1::TaskLease& member : task.gang()) look(member.token(), member.granted_us());
  }
  return oldest;
}

absl::Status AddData(const Database& database, DirectoryStore& store, Needs& needs) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::vector<Row> rows, database.ReadAll());
  RSIDIFF_RETURN_IF_ERROR(AddNamed(rows, store, needs.named));
  // A worker goes on with its task without a coordinator and reports it for as long as that is away, and the
  // report is taken while the task is its own. Its artifacts are not older than the grant, since putting one
  // again makes it young. The newest event or file of the database would tell less: a coordinator that was
  // started in vain writes both, and one with nothing to do writes neither.
  needs.held_since = OldestGrant(rows);
  return absl::OkStatus();
}

absl::Status AddBackup(const fs::path& backup, DirectoryStore& store, Digests& digests) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::unique_ptr<Database> database, Database::OpenReadOnly(backup / "db"));
  RSIDIFF_ASSIGN_OR_RETURN(const std::vector<Row> rows, database->ReadAll());
  return AddNamed(rows, store, digests);
}

/// Not what a backup that was cut off has left.
absl::StatusOr<bool> IsBackup(const fs::path& folder) {
  std::error_code error;
  const bool whole = fs::exists(folder / "backup.json", error);
  if (!error) return whole;
  return Naming(ErrnoStatus(error.value(), "cannot look for a backup"), folder);
}

/// The backups in `folder`, or `folder` itself when it is one.
absl::StatusOr<std::vector<fs::path>> FindBackups(const fs::path& folder) {
  RSIDIFF_ASSIGN_OR_RETURN(const bool alone, IsBackup(folder));
  if (alone) return std::vector<fs::path>{folder};
  std::vector<fs::path> backups;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    RSIDIFF_ASSIGN_OR_RETURN(const bool backup, IsBackup(entry->path()));
    if (backup) backups.push_back(entry->path());
  }
  if (error) return absl::NotFoundError(absl::StrCat("cannot list the backups in ", folder.string()));
  return backups;
}

absl::Status AddBackups(const PruneOptions& options, DirectoryStore& store, Needs& needs) {
  const bool named = !options.backups.empty();
  const fs::path folder = named ? options.backups : options.data / "backups";
  std::error_code ignored;
  if (!named && !fs::exists(folder, ignored)) return absl::OkStatus();
  RSIDIFF_ASSIGN_OR_RETURN(const std::vector<fs::path> backups, FindBackups(folder));
  // Who names a folder wants something in it kept.
  if (named && backups.empty()) return Naming(absl::NotFoundError("there is no backup in it"), folder);
  for (const fs::path& backup : backups) {
    RSIDIFF_RETURN_IF_ERROR(Naming(AddBackup(backup, store, needs.named), backup));
    ++needs.backups;
  }
  return absl::OkStatus();
}

absl::StatusOr<PruneReport> RemoveOthers(const Needs& needs, DirectoryStore& store,
                                         const PruneOptions& options) {
  PruneReport report;
  report.backups = needs.backups;
  report.counted_from = std::min(absl::Now(), needs.held_since);
  const absl::Time limit = report.counted_from - options.older_than;
  RSIDIFF_RETURN_IF_ERROR(store.Visit([&](const StoredArtifact& artifact) {
    if (needs.named.count(artifact.digest) > 0) {
      report.named.Add(artifact.bytes);
    } else if (artifact.written > limit) {
      report.young.Add(artifact.bytes);
    } else {
      report.removed.Add(artifact.bytes);
      if (!options.dry_run) return store.Remove(artifact.digest);
    }
    return absl::OkStatus();
  }));
  return report;
}

absl::StatusOr<PruneReport> Prune(const PruneOptions& options) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::unique_ptr<DirectoryStore> store,
                           DirectoryStore::OpenExisting(options.artifacts));
  // Open until all is removed: a coordinator that starts meanwhile could name what goes.
  const absl::StatusOr<std::unique_ptr<Database>> database = Database::OpenReadOnly(options.data / "db");
  RSIDIFF_RETURN_IF_ERROR(Naming(database.status(), options.data));
  Needs needs;
  RSIDIFF_RETURN_IF_ERROR(Naming(AddData(**database, *store, needs), options.data));
  RSIDIFF_RETURN_IF_ERROR(AddBackups(options, *store, needs));
  return RemoveOthers(needs, *store, options);
}

std::string Text(const Kind& kind) {
  return absl::StrFormat("%d artifacts, %.2f GiB", kind.files, static_cast<double>(kind.bytes) / (1 << 30));
}

nlohmann::ordered_json Json(const Kind& kind) {
  return {{"artifacts", kind.files}, {"bytes", kind.bytes}};
}

std::string Text(absl::Time time) {
  return absl::FormatTime(absl::RFC3339_sec, time, absl::UTCTimeZone());
}

void Print(const PruneReport& report, const PruneOptions& options) {
  if (options.json) {
    const nlohmann::ordered_json json = {{"dry_run", options.dry_run},
                                         {"removed", Json(report.removed)},
                                         {"named", Json(report.named)},
                                         {"young", Json(report.young)},
                                         {"counted_from", Text(report.counted_from)},
                                         {"backups", report.backups}};
    std::printf("%s\n", json.dump(2).c_str());
    return;
  }
  std::printf("%s %s; kept %s that are named, %s younger than %s at %s; backups read: %d\n",
              options.dry_run ? "would remove" : "removed", Text(report.removed).c_str(),
              Text(report.named).c_str(), Text(report.young).c_str(),
              absl::FormatDuration(options.older_than).c_str(), Text(report.counted_from).c_str(),
              report.backups);
}

}  // namespace

int PruneCommand(const PruneOptions& options) {
  const absl::StatusOr<PruneReport> report = Prune(options);
  if (!report.ok()) {
    LogError(report.status().message());
    return 1;
  }
  Print(*report, options);
  return 0;
}

}  // namespace rsidiff::coordinator
