#include "coordinator/service/prune_command.h"

#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/artifact/directory_store.h"
#include "common/artifact/folder.h"
#include "common/base/status_macros.h"
#include "common/telemetry/log.h"
#include "coordinator/state/check.h"
#include "coordinator/state/database.h"

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
};

/// Adds what the database in `folder` names, with the files of the folders among it.
absl::Status AddNamed(const fs::path& folder, DirectoryStore& store, Digests& digests) {
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::OpenReadOnly(folder));
  RSIDIFF_ASSIGN_OR_RETURN(const std::vector<Row> rows, database->ReadAll());
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

absl::Status Naming(const absl::Status& status, const fs::path& folder) {
  if (status.ok()) return status;
  return absl::Status(status.code(),
                      absl::StrCat("nothing is removed: ", folder.string(), ": ", status.message()));
}

absl::StatusOr<Digests> NamedArtifacts(const PruneOptions& options, DirectoryStore& store) {
  Digests digests;
  RSIDIFF_RETURN_IF_ERROR(Naming(AddNamed(options.data / "db", store, digests), options.data));
  const fs::path backups = options.backups.empty() ? options.data / "backups" : options.backups;
  std::error_code error;
  if (options.backups.empty() && !fs::exists(backups, error)) return digests;
  fs::directory_iterator backup(backups, error);
  if (error) return absl::NotFoundError(absl::StrCat("cannot list the backups in ", backups.string()));
  for (; backup != fs::directory_iterator(); backup.increment(error)) {
    if (!fs::exists(backup->path() / "backup.json")) continue;  // one that is not whole
    RSIDIFF_RETURN_IF_ERROR(Naming(AddNamed(backup->path() / "db", store, digests), backup->path()));
  }
  if (error) return absl::InternalError(absl::StrCat("cannot list the backups in ", backups.string()));
  return digests;
}

absl::StatusOr<PruneReport> Prune(const PruneOptions& options) {
  std::error_code ignored;
  if (!fs::is_directory(options.artifacts, ignored)) {
    return absl::NotFoundError(absl::StrCat("no folder of artifacts: ", options.artifacts.string()));
  }
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<DirectoryStore> store, DirectoryStore::Open(options.artifacts));
  RSIDIFF_ASSIGN_OR_RETURN(const Digests named, NamedArtifacts(options, *store));
  const absl::Time limit = absl::Now() - options.older_than;
  PruneReport report;
  RSIDIFF_RETURN_IF_ERROR(store->Visit([&](const StoredArtifact& artifact) {
    if (named.count(artifact.digest) > 0) {
      report.named.Add(artifact.bytes);
    } else if (artifact.written > limit) {
      report.young.Add(artifact.bytes);
    } else {
      report.removed.Add(artifact.bytes);
      if (!options.dry_run) return store->Remove(artifact.digest);
    }
    return absl::OkStatus();
  }));
  return report;
}

std::string Text(const Kind& kind) {
  return absl::StrFormat("%d artifacts, %.2f GiB", kind.files, static_cast<double>(kind.bytes) / (1 << 30));
}

nlohmann::ordered_json Json(const Kind& kind) {
  return {{"artifacts", kind.files}, {"bytes", kind.bytes}};
}

void Print(const PruneReport& report, const PruneOptions& options) {
  if (options.json) {
    const nlohmann::ordered_json json = {{"dry_run", options.dry_run},
                                         {"removed", Json(report.removed)},
                                         {"named", Json(report.named)},
                                         {"young", Json(report.young)}};
    std::printf("%s\n", json.dump(2).c_str());
    return;
  }
  std::printf("%s %s; kept %s that are named, %s younger than %s\n",
              options.dry_run ? "would remove" : "removed", Text(report.removed).c_str(),
              Text(report.named).c_str(), Text(report.young).c_str(),
              absl::FormatDuration(options.older_than).c_str());
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
