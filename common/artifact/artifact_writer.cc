#include "common/artifact/artifact_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace rsidiff {

absl::StatusOr<ArtifactWriter> ArtifactWriter::Open(DirectoryStore* store) {
  std::filesystem::path path = store->TemporaryPath();
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(path.parent_path()));  // a cache may be cleared at any time
  int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("cannot create ", path.string()));
  return ArtifactWriter(store, std::move(path), fd);
}

ArtifactWriter::ArtifactWriter(DirectoryStore* store, std::filesystem::path path, int fd)
    : store_(store), path_(std::move(path)), fd_(fd) {}

ArtifactWriter::ArtifactWriter(ArtifactWriter&& other) noexcept
    : store_(other.store_),
      path_(std::exchange(other.path_, {})),
      fd_(std::exchange(other.fd_, -1)),
      hash_(std::move(other.hash_)),
      size_(other.size_) {}

ArtifactWriter::~ArtifactWriter() {
  if (fd_ >= 0) close(fd_);
  if (!path_.empty()) unlink(path_.c_str());
}

absl::Status ArtifactWriter::Append(absl::string_view bytes) {
  hash_.Update(bytes);
  size_ += bytes.size();
  while (!bytes.empty()) {
    ssize_t written = write(fd_, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, absl::StrCat("cannot write ", path_.string()));
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status ArtifactWriter::Close() {
  if (close(std::exchange(fd_, -1)) != 0) {
    return ErrnoStatus(errno, absl::StrCat("cannot close ", path_.string()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ArtifactWriter::Commit() {
  RSIDIFF_RETURN_IF_ERROR(Close());
  std::string digest = hash_.FinishHex();
  RSIDIFF_RETURN_IF_ERROR(store_->Adopt(std::exchange(path_, {}), digest, digest));
  return digest;
}

absl::Status ArtifactWriter::CommitAs(absl::string_view expected) {
  RSIDIFF_RETURN_IF_ERROR(Close());
  return store_->Adopt(std::exchange(path_, {}), hash_.FinishHex(), expected);
}

}  // namespace rsidiff
