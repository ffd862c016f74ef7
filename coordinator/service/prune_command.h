#pragma once

#include <filesystem>

#include "absl/time/time.h"

namespace rsidiff::coordinator {

struct PruneOptions {
  std::filesystem::path data;       // of a coordinator that does not run
  std::filesystem::path artifacts;  // this cluster's alone
  std::filesystem::path backups;    // a folder of them or one, what they name stays; empty: DATA/backups
  /// Artifacts that are younger now, or when the oldest task that a worker holds was granted, stay: a worker
  /// may have stored a result that it reports when the coordinator is back.
  absl::Duration older_than = absl::Hours(24);
  bool dry_run = false;
  bool json = false;
};

/// Removes the artifacts that neither the database nor a backup names: above all the states of trainings that
/// are over. Prints what it did. The exit code: 0 done; 1 the database or a backup cannot be read, breaks a
/// rule (so that it may not name all that is needed), there is no backup in `backups`, or a file could not be
/// removed.
int PruneCommand(const PruneOptions& options);

}  // namespace rsidiff::coordinator
