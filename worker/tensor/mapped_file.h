#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rsidiff::worker {

/// A whole file in memory, mapped copy-on-write: reading costs no second copy, and writing to the bytes
/// changes this process's pages only, never the file. Unmapped when the last owner lets go. The file must not
/// be truncated meanwhile; replacing it by rename is fine.
class MappedFile {
 public:
  /// NOT_FOUND and the like name the path.
  static absl::StatusOr<std::shared_ptr<MappedFile>> Open(const std::filesystem::path& path);

  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  uint8_t* data() { return data_; }
  uint64_t size() const { return size_; }
  absl::string_view bytes() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  MappedFile(uint8_t* data, uint64_t size) : data_(data), size_(size) {}

  uint8_t* data_;
  uint64_t size_;
};

}  // namespace rsidiff::worker
