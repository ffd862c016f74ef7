#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace rsidiff::worker {

/// A folder for files on their way to the store, of one process alone though several share its parent. It is
/// locked while this object lives, and goes with it.
class ScratchFolder {
 public:
  /// Makes a new folder in `parent`, which is created if need be, and removes those there that processes of
  /// this host left behind when they were killed: the ones that nobody has locked. Where the file system has
  /// no locks (flock), nothing is removed. Errors name the path.
  static absl::StatusOr<std::unique_ptr<ScratchFolder>> Create(const std::filesystem::path& parent);
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  class LockFile;
  ScratchFolder(std::filesystem::path path, std::unique_ptr<LockFile> lock);
  static void RemoveAbandoned(const std::filesystem::path& parent, const std::string& prefix);

  const std::filesystem::path path_;
  const std::unique_ptr<LockFile> lock_;
};

/// A path in `folder` for a safetensors file, which is gone with this object.
class ScratchFile {
 public:
  explicit ScratchFile(const std::filesystem::path& folder);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  const std::filesystem::path path_;
};

}  // namespace rsidiff::worker
