#pragma once

#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rsidiff {

/// Content-addressed artifacts. A digest names the bytes (common/base/digest.h), so an artifact never
/// changes. Implementations are safe for concurrent use and block on I/O.
class ArtifactStore {
 public:
  virtual ~ArtifactStore() = default;

  /// Stores `bytes` durably and returns their digest. RESOURCE_EXHAUSTED when the disk is full.
  virtual absl::StatusOr<std::string> Put(absl::string_view bytes) = 0;

  /// Stores the contents of a file; the file stays.
  virtual absl::StatusOr<std::string> PutFile(const std::filesystem::path& file) = 0;

  /// The bytes. NOT_FOUND names the digest; DATA_LOSS when the stored bytes have another one.
  virtual absl::StatusOr<std::string> Get(absl::string_view digest) = 0;

  /// Path of a local, read-only file with the bytes, for mapping; fetched first if need be. It stays
  /// until the store's folder is cleaned.
  virtual absl::StatusOr<std::filesystem::path> LocalPath(absl::string_view digest) = 0;

  virtual absl::StatusOr<bool> Contains(absl::string_view digest) = 0;
};

}  // namespace rsidiff
