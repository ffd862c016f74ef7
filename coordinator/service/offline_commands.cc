#include "coordinator/service/offline_commands.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/artifact/directory_store.h"
#include "common/artifact/folder.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/telemetry/log.h"
#include "coordinator/state/backup.h"
#include "coordinator/state/check.h"
#include "coordinator/state/database.h"
#include "coordinator/state/tables.h"

namespace rsidiff::coordinator {
namespace {

using nlohmann::ordered_json;

/// Looks for the artifacts that the database names.
class ArtifactCheck {
 public:
  ArtifactCheck(DirectoryStore& store, bool hash, CheckReport& report)
      : store_(store), hash_(hash), report_(report) {}

  void Run() {
    for (const auto& [digest, use] : report_.artifacts) {
      if (!Look(digest, use, use.owner) || use.kind == ArtifactUse::Kind::kFile) continue;
      absl::StatusOr<v1::FolderManifest> folder = ReadFolderManifest(store_, digest);
      if (!folder.ok()) {
        Fault(use, absl::StrCat(use.owner, ": ", folder.status().message()));
        continue;
      }
      for (const auto& file : folder->files()) {
        Look(file.digest(), use, absl::StrCat(file.path(), " of ", use.owner));
      }
    }
  }

 private:
  bool Look(const std::string& digest, const ArtifactUse& use, const std::string& owner) {
    if (!IsDigest(digest)) {
      Fault(use, absl::StrCat(owner, " has no digest but \"", digest.substr(0, 80), "\""));
      return false;
    }
    absl::StatusOr<std::filesystem::path> path = store_.LocalPath(digest);
    if (!path.ok()) {
      Fault(use, absl::StrCat(owner, ": ", path.status().message()));
      return false;
    }
    if (!hash_) return true;
    absl::StatusOr<std::string> actual = FileSha256Hex(*path);
    if (actual.ok() && *actual == digest) return true;
    Fault(use, absl::StrCat(owner, ": artifact ", path->string(),
                            actual.ok() ? absl::StrCat(" has digest ", *actual)
                                        : absl::StrCat(": ", actual.status().message())));
    return false;
  }

  void Fault(const ArtifactUse& use, std::string what) {
    report_.violations.push_back({use.table, use.key, std::move(what)});
  }

  DirectoryStore& store_;
  const bool hash_;
  CheckReport& report_;
};

absl::StatusOr<CheckReport> Check(const CheckOptions& options) {
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::OpenReadOnly(options.data / "db"));
  RSIDIFF_ASSIGN_OR_RETURN(const std::vector<Row> rows, database->ReadAll());
  CheckReport report = CheckRows(rows, CheckScope::kWhole);
  if (options.artifacts.empty()) return report;
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<DirectoryStore> store,
                           DirectoryStore::OpenExisting(options.artifacts));
  ArtifactCheck(*store, options.hash, report).Run();
  return report;
}

ordered_json ToJson(const CheckReport& report) {
  ordered_json json;
  json["ok"] = report.violations.empty();
  for (const auto& [table, count] : report.rows) json["rows"][std::string(TableName(table))] = count;
  json["artifacts"] = report.artifacts.size();
  json["violations"] = ordered_json::array();
  for (const Violation& violation : report.violations) {
    json["violations"].push_back({{"table", std::string(TableName(violation.table))},
                                  {"key", absl::BytesToHexString(violation.key)},
                                  {"what", violation.what}});
  }
  return json;
}

void Print(const ordered_json& json) {
  std::printf("%s\n", json.dump(2, ' ', false, ordered_json::error_handler_t::replace).c_str());
}

int Fail(const absl::Status& status) {
  LogError(status.message());
  return 1;
}

}  // namespace

int CheckCommand(const CheckOptions& options) {
  absl::StatusOr<CheckReport> report = Check(options);
  if (!report.ok()) return Fail(report.status());
  if (options.json) {
    Print(ToJson(*report));
  } else {
    for (const Violation& violation : report->violations) std::printf("%s\n", ToString(violation).c_str());
    size_t rows = 0;
    for (const auto& [table, count] : report->rows) rows += count;
    std::printf("%zu rows, %zu artifacts named, %zu violations\n", rows, report->artifacts.size(),
                report->violations.size());
  }
  return report->violations.empty() ? 0 : 1;
}

int RestoreCommand(const RestoreOptions& options) {
  absl::StatusOr<RestoreReport> report = RestoreBackup(options.backup, options.data, absl::Now());
  if (!report.ok()) return Fail(report.status());
  std::string taken = absl::FormatTime(absl::RFC3339_sec, absl::FromUnixMicros(report->manifest.time_us()),
                                       absl::UTCTimeZone());
  if (options.json) {
    Print({{"cluster_id", report->manifest.cluster_id()},
           {"backup_time", taken},
           {"backup_epoch", report->manifest.epoch()},
           {"epoch", report->epoch},
           {"leases_ended", report->leases_ended},
           {"workers_dropped", report->workers_dropped}});
  } else {
    std::printf(
        "restored cluster %s as of %s into %s: %llu leases ended, %llu workers have to register again\n",
        report->manifest.cluster_id().c_str(), taken.c_str(), options.data.c_str(),
        static_cast<unsigned long long>(report->leases_ended),
        static_cast<unsigned long long>(report->workers_dropped));
  }
  return 0;
}

}  // namespace rsidiff::coordinator
