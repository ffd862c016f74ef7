#pragma once

#include <filesystem>

namespace rsidiff::coordinator {

// Commands of rsidiff-coordinator that work on a data folder that no coordinator uses. Each writes its
// result to stdout, errors to stderr, and returns the process' exit code.

struct CheckOptions {
  std::filesystem::path data;       // a data folder or a backup
  std::filesystem::path artifacts;  // empty: the artifacts are not looked for
  bool hash = false;                // read every artifact and compare its digest
  bool json = false;
};

/// Holds the database against every rule about it. 0: all kept; 1: violations, one a line, or it cannot be
/// read.
int CheckCommand(const CheckOptions& options);

struct RestoreOptions {
  std::filesystem::path backup;
  std::filesystem::path data;
  bool json = false;
};

/// Makes a new data folder of a backup. 0: done; 1: nothing usable was made.
int RestoreCommand(const RestoreOptions& options);

}  // namespace rsidiff::coordinator
