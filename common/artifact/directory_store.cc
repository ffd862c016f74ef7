#include "common/artifact/directory_store.h"

#include <unistd.h>

#include <atomic>
#include <fstream>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace rsidiff {
namespace fs = std::filesystem;

absl::StatusOr<std::unique_ptr<DirectoryStore>> DirectoryStore::Open(const fs::path& folder) {
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(folder / "tmp"));
  return absl::WrapUnique(new DirectoryStore(fs::absolute(folder)));
}

fs::path DirectoryStore::PathOf(absl::string_view digest) const {
  return folder_ / std::string(digest.substr(0, 2)) / std::string(digest);
}

fs::path DirectoryStore::TemporaryPath() {
  static std::atomic<uint64_t> counter{0};
  return folder_ / "tmp" / absl::StrCat(RandomId(), "-", counter.fetch_add(1));
}

absl::StatusOr<std::string> DirectoryStore::Put(absl::string_view bytes) {
  std::string digest = Sha256Hex(bytes);
  fs::path path = PathOf(digest);
  std::error_code ignored;
  if (fs::exists(path, ignored)) return digest;
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(path.parent_path()));
  RSIDIFF_RETURN_IF_ERROR(WriteFileAtomically(path, bytes));
  return digest;
}

absl::StatusOr<std::string> DirectoryStore::PutFile(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return ErrnoStatus(errno, absl::StrCat("cannot open ", file.string()));
  fs::path temporary = TemporaryPath();
  std::ofstream out(temporary, std::ios::binary);
  Sha256 hash;
  std::string buffer(1 << 20, '\0');
  while (in && out) {
    in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    hash.Update(absl::string_view(buffer.data(), static_cast<size_t>(in.gcount())));
    out.write(buffer.data(), in.gcount());
  }
  out.close();
  if (!out || in.bad()) {
    int error = errno;
    unlink(temporary.c_str());
    return ErrnoStatus(error, absl::StrCat("cannot copy ", file.string(), " to ", temporary.string()));
  }
  std::string digest = hash.FinishHex();
  RSIDIFF_RETURN_IF_ERROR(Adopt(temporary, digest, digest));
  return digest;
}

absl::Status DirectoryStore::Adopt(const fs::path& temporary, absl::string_view actual,
                                   absl::string_view expected) {
  if (actual != expected) {
    unlink(temporary.c_str());
    return absl::DataLossError(absl::StrCat("artifact has digest ", actual, ", not ", expected));
  }
  fs::path path = PathOf(expected);
  absl::Status status = CreateFolders(path.parent_path());
  if (status.ok()) status = CommitFile(temporary, path);
  if (!status.ok()) unlink(temporary.c_str());
  return status;
}

absl::StatusOr<std::string> DirectoryStore::Get(absl::string_view digest) {
  RSIDIFF_ASSIGN_OR_RETURN(fs::path path, LocalPath(digest));
  RSIDIFF_ASSIGN_OR_RETURN(std::string bytes, ReadFile(path));
  std::string actual = Sha256Hex(bytes);
  if (actual != digest) {
    return absl::DataLossError(absl::StrCat("artifact file ", path.string(), " has digest ", actual));
  }
  return bytes;
}

absl::StatusOr<fs::path> DirectoryStore::LocalPath(absl::string_view digest) {
  RSIDIFF_ASSIGN_OR_RETURN(bool present, Contains(digest));
  if (!present) return absl::NotFoundError(absl::StrCat("no artifact ", digest, " in ", folder_.string()));
  return PathOf(digest);
}

absl::StatusOr<bool> DirectoryStore::Contains(absl::string_view digest) {
  if (!IsDigest(digest)) return absl::InvalidArgumentError(absl::StrCat("not a digest: '", digest, "'"));
  std::error_code error;
  return fs::exists(PathOf(digest), error);
}

}  // namespace rsidiff
