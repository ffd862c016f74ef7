#pragma once

#include <filesystem>

#include "absl/status/statusor.h"

namespace rsidiff::coordinator {

/// A folder that appears whole or not at all: it is filled under a temporary name beside its place and
/// gets its own name at Commit. Without Commit it is removed again.
class NewFolder {
 public:
  /// ALREADY_EXISTS: `destination` is there and not an empty folder.
  static absl::StatusOr<NewFolder> Create(const std::filesystem::path& destination);

  NewFolder(NewFolder&& other) noexcept;
  NewFolder& operator=(NewFolder&&) = delete;
  ~NewFolder();

  /// Where to write.
  const std::filesystem::path& path() const { return temporary_; }

  absl::Status Commit();

 private:
  NewFolder(std::filesystem::path temporary, std::filesystem::path destination);

  std::filesystem::path temporary_;  // empty after Commit
  std::filesystem::path destination_;
};

}  // namespace rsidiff::coordinator
