#include "common/artifact/folder.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace rsidiff {
namespace fs = std::filesystem;
namespace {

constexpr int kMaxDepth = 16;  // a loop of links ends here

constexpr std::array<absl::string_view, 9> kIgnoredEndings = {
    ".bin", ".ckpt", ".pt", ".pth", ".pkl", ".h5", ".msgpack", ".onnx", ".onnx_data"};

bool IsIgnored(absl::string_view name) {
  return absl::StartsWith(name, ".") ||
         std::any_of(kIgnoredEndings.begin(), kIgnoredEndings.end(),
                     [&](absl::string_view ending) { return absl::EndsWith(name, ending); });
}

// Appends the files below `folder` to `files`, as paths relative to the root of the walk.
absl::Status ListFiles(const fs::path& folder, const fs::path& relative, int depth,
                       std::vector<fs::path>& files) {
  if (depth > kMaxDepth) {
    return absl::InvalidArgumentError(absl::StrCat("folder is nested too deeply: ", folder.string()));
  }
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; it != end; it.increment(error)) {
    if (error) break;
    fs::path name = it->path().filename();
    if (IsIgnored(name.string())) continue;
    std::error_code stat_error;
    fs::file_status status = fs::status(it->path(), stat_error);
    if (fs::is_directory(status)) {
      RSIDIFF_RETURN_IF_ERROR(ListFiles(it->path(), relative / name, depth + 1, files));
    } else if (fs::is_regular_file(status)) {
      files.push_back(relative / name);
    } else {
      return absl::InvalidArgumentError(absl::StrCat("not a file or a folder: ", it->path().string()));
    }
  }
  if (error) return ErrnoStatus(error.value(), absl::StrCat("cannot list folder ", folder.string()));
  return absl::OkStatus();
}

bool StaysInside(absl::string_view path) {
  if (path.empty() || absl::StrContains(path, absl::string_view("\0", 1))) return false;
  for (absl::string_view part : absl::StrSplit(path, '/')) {
    if (part.empty() || part == "." || part == "..") return false;
  }
  return true;
}

absl::Status CheckManifest(const v1::FolderManifest& manifest) {
  std::set<std::string> paths;
  for (const v1::FolderManifest::File& file : manifest.files()) {
    if (!StaysInside(file.path())) {
      return absl::InvalidArgumentError(absl::StrCat("path is not inside the folder: '", file.path(), "'"));
    }
    if (!IsDigest(file.digest())) {
      return absl::InvalidArgumentError(
          absl::StrCat("not a digest, for '", file.path(), "': '", file.digest(), "'"));
    }
    if (!paths.insert(file.path()).second) {
      return absl::InvalidArgumentError(absl::StrCat("path occurs twice: '", file.path(), "'"));
    }
  }
  // No file may be another one's folder: its link would lead elsewhere.
  for (const std::string& path : paths) {
    for (size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
      if (paths.count(path.substr(0, slash)) > 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("path is both a file and a folder: '", path.substr(0, slash), "'"));
      }
    }
  }
  return absl::OkStatus();
}

// Makes `link` point to `target`, replacing whatever file is there in one step.
absl::Status Link(const fs::path& target, const fs::path& link) {
  std::error_code error;
  if (fs::read_symlink(link, error) == target) return absl::OkStatus();
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(link.parent_path()));
  const fs::path temporary = TemporaryBeside(link);
  fs::create_symlink(target, temporary, error);
  if (!error) fs::rename(temporary, link, error);
  if (error) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    return ErrnoStatus(error.value(), absl::StrCat("cannot link ", link.string()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ImportFolder(ArtifactStore& store, const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    return absl::NotFoundError(absl::StrCat("no such folder: ", folder.string()));
  }
  std::vector<fs::path> paths;
  RSIDIFF_RETURN_IF_ERROR(ListFiles(folder, {}, 0, paths));
  if (paths.empty())
    return absl::InvalidArgumentError(absl::StrCat("folder has no files: ", folder.string()));
  std::sort(paths.begin(), paths.end(),
            [](const fs::path& a, const fs::path& b) { return a.generic_string() < b.generic_string(); });
  v1::FolderManifest manifest;
  for (const fs::path& path : paths) {
    v1::FolderManifest::File* file = manifest.add_files();
    file->set_path(path.generic_string());
    RSIDIFF_ASSIGN_OR_RETURN(*file->mutable_digest(), store.PutFile(folder / path));
    file->set_size(fs::file_size(folder / path, error));
    if (error) return ErrnoStatus(error.value(), absl::StrCat("cannot read ", (folder / path).string()));
  }
  std::string json;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  auto printed = google::protobuf::util::MessageToJsonString(manifest, &json, options);
  if (!printed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("folder has a name that is not UTF-8: ", folder.string()));
  }
  return store.Put(json);
}

absl::StatusOr<v1::FolderManifest> ReadFolderManifest(ArtifactStore& store, absl::string_view digest) {
  RSIDIFF_ASSIGN_OR_RETURN(std::string json, store.Get(digest));
  v1::FolderManifest manifest;
  auto parsed = google::protobuf::util::JsonStringToMessage(json, &manifest);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("artifact ", digest, " is no folder manifest: ", parsed.ToString()));
  }
  RSIDIFF_RETURN_IF_ERROR(Annotate(CheckManifest(manifest), absl::StrCat("folder manifest ", digest)));
  return manifest;
}

absl::StatusOr<fs::path> MaterializeFolder(ArtifactStore& store, absl::string_view digest,
                                           const fs::path& into) {
  RSIDIFF_ASSIGN_OR_RETURN(v1::FolderManifest manifest, ReadFolderManifest(store, digest));
  fs::path folder = into / std::string(digest);
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(folder));
  for (const v1::FolderManifest::File& file : manifest.files()) {
    absl::StatusOr<fs::path> local = store.LocalPath(file.digest());
    if (!local.ok()) return Annotate(local.status(), file.path());
    RSIDIFF_RETURN_IF_ERROR(Link(fs::absolute(*local), folder / file.path()));
  }
  return folder;
}

}  // namespace rsidiff
