#include "worker/phase/scratch_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace rsidiff::worker {
namespace {

namespace fs = std::filesystem;

// A folder's lock lies beside it, so that it can be held while the folder is removed.
constexpr char kLockEnding[] = ".lock";

// Some file systems that hosts share keep locks for each host alone, so a host looks at its own folders only.
std::string HostName() {
  char name[256] = {};
  if (gethostname(name, sizeof(name) - 1) != 0) return "host";
  return name;
}

fs::path LockOf(fs::path folder) {
  return folder += kLockEnding;
}

// The folder, then its lock, which the caller holds.
void Remove(const fs::path& folder) {
  std::error_code ignored;
  fs::remove_all(folder, ignored);
  fs::remove(LockOf(folder), ignored);
}

}  // namespace

/// A file that is locked, where its file system can do that. The kernel ends the lock with the process.
class ScratchFolder::LockFile {
 public:
  enum class Wait { kForOthers, kNot };

  LockFile(const fs::path& path, Wait wait) : file_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    if (file_ < 0) return;
    const int operation = wait == Wait::kNot ? LOCK_EX | LOCK_NB : LOCK_EX;
    int result = 0;
    do {
      result = flock(file_, operation);
    } while (result != 0 && errno == EINTR);
    locked_ = result == 0;
  }
  ~LockFile() {
    if (file_ >= 0) close(file_);
  }
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;

  bool locked() const { return locked_; }

 private:
  const int file_;
  bool locked_ = false;
};

ScratchFolder::ScratchFolder(fs::path path, std::unique_ptr<LockFile> lock)
    : path_(std::move(path)), lock_(std::move(lock)) {}

ScratchFolder::~ScratchFolder() {
  Remove(path_);
}

absl::StatusOr<std::unique_ptr<ScratchFolder>> ScratchFolder::Create(const fs::path& parent) {
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(parent));
  const std::string prefix = absl::StrCat(HostName(), "@");  // which no name of a host has
  // Held until the new folder is locked too: nobody may take it for an abandoned one before.
  const LockFile parent_lock(parent / kLockEnding, LockFile::Wait::kForOthers);
  if (parent_lock.locked()) RemoveAbandoned(parent, prefix);
  fs::path path = parent / absl::StrCat(prefix, RandomId());
  auto lock = std::make_unique<LockFile>(LockOf(path), LockFile::Wait::kNot);
  std::unique_ptr<ScratchFolder> folder = absl::WrapUnique(new ScratchFolder(path, std::move(lock)));
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(path));
  return folder;
}

void ScratchFolder::RemoveAbandoned(const fs::path& parent, const std::string& prefix) {
  std::error_code error;
  for (fs::directory_iterator it(parent, error), end; !error && it != end; it.increment(error)) {
    const fs::path& path = it->path();
    if (!absl::StartsWith(path.filename().string(), prefix) || path.extension() != kLockEnding) continue;
    const LockFile lock(path, LockFile::Wait::kNot);
    if (lock.locked()) Remove(fs::path(path).replace_extension());
  }
}

ScratchFile::ScratchFile(const fs::path& folder) : path_(folder / absl::StrCat(RandomId(), ".safetensors")) {}

ScratchFile::~ScratchFile() {
  std::error_code ignored;
  fs::remove(path_, ignored);
}

}  // namespace rsidiff::worker
