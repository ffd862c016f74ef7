#include "common/base/file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>

#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "common/base/status_macros.h"

namespace rsidiff {
namespace {

// Closes the descriptor when it goes out of scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

absl::Status WriteAll(int fd, absl::string_view contents, const std::string& name) {
  while (!contents.empty()) {
    ssize_t written = write(fd, contents.data(), contents.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, absl::StrCat("cannot write ", name));
    }
    contents.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

// Hands what is left of the file to `sink`, piece by piece.
absl::Status ReadPieces(int fd, const std::string& name,
                        const std::function<absl::Status(absl::string_view)>& sink) {
  char buffer[1 << 16];
  while (true) {
    ssize_t count = read(fd, buffer, sizeof buffer);
    if (count == 0) return absl::OkStatus();
    if (count < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, absl::StrCat("cannot read ", name));
    }
    RSIDIFF_RETURN_IF_ERROR(sink(absl::string_view(buffer, static_cast<size_t>(count))));
  }
}

}  // namespace

absl::Status ErrnoStatus(int error, absl::string_view what) {
  std::string message = absl::StrCat(what, ": ", std::strerror(error));
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) return absl::ResourceExhaustedError(message);
  if (error == ENOENT) return absl::NotFoundError(message);
  if (error == EACCES || error == EPERM) return absl::PermissionDeniedError(message);
  return absl::InternalError(message);
}

absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path) {
  Descriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return ErrnoStatus(errno, absl::StrCat("cannot open ", path.string()));
  std::string contents;
  RSIDIFF_RETURN_IF_ERROR(ReadPieces(fd.get(), path.string(), [&contents](absl::string_view piece) {
    contents.append(piece.data(), piece.size());
    return absl::OkStatus();
  }));
  return contents;
}

absl::Status SyncFolder(const std::filesystem::path& folder) {
  Descriptor fd(open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0 || fsync(fd.get()) != 0) {
    return ErrnoStatus(errno, absl::StrCat("cannot sync folder ", folder.string()));
  }
  return absl::OkStatus();
}

std::filesystem::path TemporaryBeside(const std::filesystem::path& path) {
  return absl::StrCat(path.string(), ".tmp-", RandomId());
}

absl::Status WriteFileAtomically(const std::filesystem::path& path, absl::string_view contents) {
  const std::filesystem::path temporary = TemporaryBeside(path);
  absl::Status status;
  {
    Descriptor fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (fd.get() < 0) return ErrnoStatus(errno, absl::StrCat("cannot create ", temporary.string()));
    status = WriteAll(fd.get(), contents, temporary.string());
  }
  if (status.ok()) status = CommitFile(temporary, path);
  if (!status.ok()) unlink(temporary.c_str());
  return status;
}

absl::Status CommitFile(const std::filesystem::path& from, const std::filesystem::path& to) {
  {
    Descriptor fd(open(from.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0 || fsync(fd.get()) != 0) {
      return ErrnoStatus(errno, absl::StrCat("cannot sync ", from.string()));
    }
  }
  if (rename(from.c_str(), to.c_str()) != 0) {
    return ErrnoStatus(errno, absl::StrCat("cannot rename ", from.string(), " to ", to.string()));
  }
  return SyncFolder(to.parent_path());
}

absl::Status CopyFile(const std::filesystem::path& from, const std::filesystem::path& to) {
  Descriptor in(open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (in.get() < 0) return ErrnoStatus(errno, absl::StrCat("cannot open ", from.string()));
  Descriptor out(open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (out.get() < 0) return ErrnoStatus(errno, absl::StrCat("cannot create ", to.string()));
  RSIDIFF_RETURN_IF_ERROR(ReadPieces(in.get(), from.string(), [&](absl::string_view piece) {
    return WriteAll(out.get(), piece, to.string());
  }));
  if (fsync(out.get()) != 0) return ErrnoStatus(errno, absl::StrCat("cannot sync ", to.string()));
  return absl::OkStatus();
}

absl::StatusOr<std::string> FileSha256Hex(const std::filesystem::path& path) {
  Descriptor in(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (in.get() < 0) return ErrnoStatus(errno, absl::StrCat("cannot open ", path.string()));
  Sha256 hash;
  RSIDIFF_RETURN_IF_ERROR(ReadPieces(in.get(), path.string(), [&hash](absl::string_view piece) {
    hash.Update(piece);
    return absl::OkStatus();
  }));
  return hash.FinishHex();
}

absl::Status CreateFolders(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("cannot create folder ", path.string()));
  return absl::OkStatus();
}

}  // namespace rsidiff
