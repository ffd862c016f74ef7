#include "common/artifact/directory_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/artifact/artifact_writer.h"
#include "common/base/digest.h"
#include "common/base/fault_point.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace rsidiff {
namespace fs = std::filesystem;

namespace {

constexpr size_t kPieceBytes = 1 << 20;

// Hands the file's contents to `sink` piece by piece.
absl::Status ReadPieces(const fs::path& file, const std::function<absl::Status(absl::string_view)>& sink) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return ErrnoStatus(errno, absl::StrCat("cannot open ", file.string()));
  std::string buffer(kPieceBytes, '\0');
  while (in) {
    in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    if (in.bad()) return ErrnoStatus(errno, absl::StrCat("cannot read ", file.string()));
    RSIDIFF_RETURN_IF_ERROR(sink(absl::string_view(buffer.data(), static_cast<size_t>(in.gcount()))));
  }
  return absl::OkStatus();
}

// What a killed process left; a day is longer than any artifact takes to write.
void RemoveStaleFiles(const fs::path& folder) {
  std::error_code ignored;
  auto limit = fs::file_time_type::clock::now() - std::chrono::hours(24);
  for (fs::directory_iterator it(folder, ignored), end; it != end; it.increment(ignored)) {
    fs::file_time_type written = fs::last_write_time(it->path(), ignored);
    if (!ignored && written < limit) fs::remove(it->path(), ignored);
  }
}

// Visits the artifacts that lie in one folder of the store.
absl::Status VisitPart(const fs::path& part,
                       const std::function<absl::Status(const StoredArtifact&)>& visit) {
  std::error_code error;
  for (fs::directory_iterator file(part, error); !error && file != fs::directory_iterator();
       file.increment(error)) {
    const std::string digest = file->path().filename().string();
    struct stat found = {};
    if (!IsDigest(digest) || lstat(file->path().c_str(), &found) != 0 || !S_ISREG(found.st_mode)) continue;
    RSIDIFF_RETURN_IF_ERROR(
        visit({digest, static_cast<uint64_t>(found.st_size), absl::FromTimeT(found.st_mtime)}));
  }
  if (error) return ErrnoStatus(error.value(), absl::StrCat("cannot list ", part.string()));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<DirectoryStore>> DirectoryStore::Open(const fs::path& folder) {
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(folder / "tmp"));
  RemoveStaleFiles(folder / "tmp");
  return absl::WrapUnique(new DirectoryStore(fs::absolute(folder)));
}

absl::StatusOr<std::unique_ptr<DirectoryStore>> DirectoryStore::OpenExisting(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) {
    return absl::NotFoundError(absl::StrCat("no folder of artifacts: ", folder.string()));
  }
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
  if (Renew(digest)) return digest;
  RSIDIFF_ASSIGN_OR_RETURN(ArtifactWriter writer, ArtifactWriter::Open(this));
  RSIDIFF_RETURN_IF_ERROR(writer.Append(bytes));
  return writer.Commit();
}

absl::StatusOr<std::string> DirectoryStore::PutFile(const fs::path& file) {
  // Hashing first spares the copy of what is stored already, as a model is from its second run on.
  RSIDIFF_ASSIGN_OR_RETURN(std::string digest, FileSha256Hex(file));
  if (Renew(digest)) return digest;
  RSIDIFF_ASSIGN_OR_RETURN(ArtifactWriter writer, ArtifactWriter::Open(this));
  RSIDIFF_RETURN_IF_ERROR(ReadPieces(file, [&](absl::string_view piece) { return writer.Append(piece); }));
  return writer.Commit();
}

absl::Status DirectoryStore::Adopt(const fs::path& temporary, absl::string_view actual,
                                   absl::string_view expected) {
  if (actual != expected) {
    unlink(temporary.c_str());
    return absl::DataLossError(absl::StrCat("artifact has digest ", actual, ", not ", expected));
  }
  fs::path path = PathOf(expected);
  absl::Status status = CreateFolders(path.parent_path());
  FaultPoint("artifact.received");
  if (status.ok()) status = CommitFile(temporary, path);
  FaultPoint("artifact.named");
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
  fs::path path = PathOf(digest);
  std::error_code error;
  bool present = fs::exists(path, error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("cannot look for ", path.string()));
  return present;
}

bool DirectoryStore::IsSound(absl::string_view digest) const {
  // Large files are read whole, too: a file is seldom put twice (a model, a task done again), it was read
  // once already for its digest, and this is the only chance to mend what would fail every task that needs
  // it. One that cannot be read is as good as damaged.
  if (!IsDigest(digest)) return false;
  absl::StatusOr<std::string> actual = FileSha256Hex(PathOf(digest));
  return actual.ok() && *actual == digest;
}

bool DirectoryStore::Renew(absl::string_view digest) {
  // Who puts an artifact again is about to name it, so it must not be removed for its age. A file that cannot
  // be touched has gone meanwhile or is another user's: it is written anew.
  return IsSound(digest) && utimensat(AT_FDCWD, PathOf(digest).c_str(), nullptr, 0) == 0;
}

absl::Status DirectoryStore::Visit(const std::function<absl::Status(const StoredArtifact&)>& visit) const {
  std::error_code error;
  for (fs::directory_iterator part(folder_, error); !error && part != fs::directory_iterator();
       part.increment(error)) {
    std::error_code ignored;
    if (part->path().filename().string().size() != 2 || !part->is_directory(ignored)) continue;
    RSIDIFF_RETURN_IF_ERROR(VisitPart(part->path(), visit));
  }
  if (error) return ErrnoStatus(error.value(), absl::StrCat("cannot list ", folder_.string()));
  return absl::OkStatus();
}

absl::Status DirectoryStore::Remove(absl::string_view digest) {
  if (!IsDigest(digest)) return absl::InvalidArgumentError(absl::StrCat("not a digest: '", digest, "'"));
  fs::path path = PathOf(digest);
  std::error_code error;
  fs::remove(path, error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("cannot remove ", path.string()));
  return absl::OkStatus();
}

}  // namespace rsidiff
