#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/artifact/directory_store.h"
#include "common/base/digest.h"

namespace rsidiff {

/// Writes one artifact into a DirectoryStore piece by piece, hashing as it goes. Nothing is visible in
/// the store before Commit; a writer that goes away earlier leaves nothing behind. Not thread-safe.
class ArtifactWriter {
 public:
  /// `store` is not owned and outlives the writer. RESOURCE_EXHAUSTED when the disk is full.
  static absl::StatusOr<ArtifactWriter> Open(DirectoryStore* store);

  ArtifactWriter(ArtifactWriter&& other) noexcept;
  ArtifactWriter& operator=(ArtifactWriter&&) = delete;
  ~ArtifactWriter();

  absl::Status Append(absl::string_view bytes);

  /// Syncs the artifact and gives it its name, the digest that it returns. Call once, last.
  absl::StatusOr<std::string> Commit();

  /// As Commit, but DATA_LOSS, and nothing stored, when the digest is not `expected`.
  absl::Status CommitAs(absl::string_view expected);

  uint64_t size() const { return size_; }

 private:
  ArtifactWriter(DirectoryStore* store, std::filesystem::path path, int fd);
  absl::Status Close();

  DirectoryStore* store_;
  std::filesystem::path path_;
  int fd_;
  Sha256 hash_;
  uint64_t size_ = 0;
};

}  // namespace rsidiff
