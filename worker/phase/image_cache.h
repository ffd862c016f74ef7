#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/artifact/store.h"
#include "common/image/image.h"

namespace rsidiff::worker {

/// The pictures that this worker saw last, decoded, by digest: what GENERATE made need not be fetched and
/// decoded again when its SCORE comes to the same worker. Not thread-safe.
class ImageCache {
 public:
  /// Keeps at most `capacity_bytes` of pixels.
  explicit ImageCache(size_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

  void Put(const std::string& digest, std::shared_ptr<const Image> image);

  /// The picture with this digest, from the cache or the store. Errors as ArtifactStore::Get, and DATA_LOSS,
  /// naming the digest, for bytes that are no picture.
  absl::StatusOr<std::shared_ptr<const Image>> Get(const std::string& digest, ArtifactStore& store);

 private:
  struct Entry {
    std::string digest;
    std::shared_ptr<const Image> image;
  };

  void Evict();

  const size_t capacity_bytes_;
  size_t bytes_ = 0;
  std::list<Entry> entries_;  // most recently used first
  std::unordered_map<std::string, std::list<Entry>::iterator> index_;
};

}  // namespace rsidiff::worker
