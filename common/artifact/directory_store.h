#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "common/artifact/store.h"

namespace rsidiff {

/// An artifact as it lies in a folder.
struct StoredArtifact {
  std::string digest;
  uint64_t bytes = 0;
  absl::Time written;  // or put again
};

/// Artifacts in a folder, shared by every process that sees it: DIGEST lies in `aa/DIGEST`, aa its
/// first two characters. Files are complete and synced before they get their name; until then they lie in
/// `tmp`. Putting an artifact again replaces its file if that is damaged, and otherwise makes it as young as
/// a new one.
class DirectoryStore : public ArtifactStore {
 public:
  /// Creates the folder if need be, and removes temporary files that were left more than a day ago.
  static absl::StatusOr<std::unique_ptr<DirectoryStore>> Open(const std::filesystem::path& folder);

  /// For looking at artifacts and removing them, not for putting: makes nothing and removes nothing, as
  /// `folder` may be the wrong one. NOT_FOUND: there is no such folder.
  static absl::StatusOr<std::unique_ptr<DirectoryStore>> OpenExisting(const std::filesystem::path& folder);

  absl::StatusOr<std::string> Put(absl::string_view bytes) override;
  absl::StatusOr<std::string> PutFile(const std::filesystem::path& file) override;
  absl::StatusOr<std::string> Get(absl::string_view digest) override;
  absl::StatusOr<std::filesystem::path> LocalPath(absl::string_view digest) override;
  absl::StatusOr<bool> Contains(absl::string_view digest) override;

  /// True if the artifact is there and its bytes have the digest; reads all of them.
  bool IsSound(absl::string_view digest) const;

  /// What spares a Put: true if the artifact is there and sound, and counts as written now.
  bool Renew(absl::string_view digest);

  /// Calls `visit` for every artifact, in no order, until it returns an error. It may remove that artifact.
  /// An error, too, when a folder cannot be listed.
  absl::Status Visit(const std::function<absl::Status(const StoredArtifact&)>& visit) const;

  /// Removes a damaged artifact, or one that nobody needs. OK when there is none.
  absl::Status Remove(absl::string_view digest);

  const std::filesystem::path& folder() const { return folder_; }

  /// A new path in the store's own temporary folder, for writing a large artifact piece by piece.
  std::filesystem::path TemporaryPath();

  /// Gives the finished temporary file its name. DATA_LOSS, and the file is removed, when its digest
  /// (computed by the writer) is not `expected`.
  absl::Status Adopt(const std::filesystem::path& temporary, absl::string_view actual,
                     absl::string_view expected);

 private:
  explicit DirectoryStore(std::filesystem::path folder) : folder_(std::move(folder)) {}
  std::filesystem::path PathOf(absl::string_view digest) const;

  const std::filesystem::path folder_;
};

}  // namespace rsidiff
