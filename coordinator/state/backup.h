#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "coordinator/state/database.h"
#include "rsidiff/v1/backup.pb.h"

namespace rsidiff::coordinator {

/// A backup is a folder: `db/`, the database as it was at one moment, and `backup.json`, a BackupManifest.
/// The artifacts are not in it: they never change, so a copy of their folder that is made after the backup
/// holds all that the backup names.

/// [A-Za-z0-9._-]{1,63} and no dot first: a name that stays inside the folder of the backups.
bool IsBackupName(absl::string_view name);

/// Writes a backup of the running database as the new folder `folder`, which appears whole or not at all.
/// ALREADY_EXISTS: there is such a folder.
absl::StatusOr<v1::BackupManifest> WriteBackup(const Database& database, const std::filesystem::path& folder,
                                               absl::Time now);

/// Removes what a killed process left of its backups in the folder that holds them.
absl::Status RemoveUnfinishedBackups(const std::filesystem::path& backups);

/// The manifest of a backup whose files are all there with the digests it gives. NOT_FOUND: `folder` is no
/// backup. DATA_LOSS names the file that is missing, differs or is not in the manifest.
/// FAILED_PRECONDITION: its format or schema is newer.
absl::StatusOr<v1::BackupManifest> VerifyBackup(const std::filesystem::path& folder);

/// How far Restore moves every counter: nothing that was handed out after the backup is handed out again
/// unless a coordinator has started, or a worker registered, more often than this since.
inline constexpr uint64_t kRestoreEpochStride = uint64_t{1} << 16;
inline constexpr uint64_t kRestoreIdStride = uint64_t{1} << 20;  // incarnations, generations, events
inline constexpr uint64_t kRestoreRunStride = 1000;

struct RestoreReport {
  v1::BackupManifest manifest;
  uint64_t epoch = 0;            // of the restored database
  uint64_t leases_ended = 0;     // tasks that the backup knew as leased; they are pending now
  uint64_t workers_dropped = 0;  // workers that have to register again
};

/// Verifies the backup and makes `data`, a folder that is new or empty, a coordinator's data folder with
/// it, of this program's schema. No worker of the past goes on with what it holds: leases are ended, workers
/// have to register again, and the counters of epochs, incarnations, generations, events and runs are moved
/// beyond all that may have been handed out since. FAILED_PRECONDITION: `data` is not empty. Doing it again
/// after a crash is safe.
absl::StatusOr<RestoreReport> RestoreBackup(const std::filesystem::path& backup,
                                            const std::filesystem::path& data, absl::Time now);

/// FAILED_PRECONDITION when `data` holds the beginning of a restore that was not finished.
absl::Status CheckNoUnfinishedRestore(const std::filesystem::path& data);

}  // namespace rsidiff::coordinator
