#pragma once

#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rsidiff {

/// Whole contents of `path`. NOT_FOUND when there is no such file; every error names the path.
absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path);

/// A path in the folder of `path` for what is renamed to it later. Never that of what a killed process left:
/// in a container every start may have the same process id.
std::filesystem::path TemporaryBeside(const std::filesystem::path& path);

/// Writes a temporary file beside `path`, syncs it, renames it over `path` and syncs the folder, so a
/// reader sees the old contents or the new ones and never a part. RESOURCE_EXHAUSTED when the disk is
/// full; nothing is left behind on an error.
absl::Status WriteFileAtomically(const std::filesystem::path& path, absl::string_view contents);

/// Syncs the file or folder, renames it to `to` and syncs the folder that `to` is in. Both on one file
/// system. What is in a folder has to be synced before.
absl::Status CommitFile(const std::filesystem::path& from, const std::filesystem::path& to);

/// Copies a file to `to`, which must not exist, and syncs the copy. The folder is not synced.
absl::Status CopyFile(const std::filesystem::path& from, const std::filesystem::path& to);

/// Syncs the names in a folder.
absl::Status SyncFolder(const std::filesystem::path& folder);

/// Lower-case hexadecimal SHA-256 of the file's contents, read piece by piece.
absl::StatusOr<std::string> FileSha256Hex(const std::filesystem::path& path);

/// mkdir -p. The error names the path.
absl::Status CreateFolders(const std::filesystem::path& path);

/// `what` with the message of errno; ENOSPC, EDQUOT and EFBIG (no room) become
/// RESOURCE_EXHAUSTED, ENOENT NOT_FOUND.
absl::Status ErrnoStatus(int error, absl::string_view what);

}  // namespace rsidiff
