#pragma once

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/artifact/store.h"
#include "rsidiff/v1/artifact.pb.h"

namespace rsidiff {

/// Stores every file of `folder`, with those of its sub-folders, and a FolderManifest of them; returns
/// the manifest's digest, which is the same for equal contents wherever the folder lies. Links to files
/// are followed. Left out: names that begin with a dot, and weights in formats that are never read
/// (.bin, .ckpt, .pt, .pth, .pkl, .h5, .msgpack, .onnx, .onnx_data). NOT_FOUND: there is no such
/// folder. INVALID_ARGUMENT names a file that is no regular file, or the folder when nothing is left.
absl::StatusOr<std::string> ImportFolder(ArtifactStore& store, const std::filesystem::path& folder);

/// The manifest with that digest. INVALID_ARGUMENT: it is no manifest, or a path in it is absolute,
/// leaves the folder or occurs twice.
absl::StatusOr<v1::FolderManifest> ReadFolderManifest(ArtifactStore& store, absl::string_view digest);

/// Makes the folder `into/DIGEST`, whose files are links to the store's local files, and returns its
/// path. Fetches what is not local. Doing it again repairs what is missing; several processes may do it
/// at once. Errors as ReadFolderManifest and ArtifactStore::LocalPath.
absl::StatusOr<std::filesystem::path> MaterializeFolder(ArtifactStore& store, absl::string_view digest,
                                                        const std::filesystem::path& into);

}  // namespace rsidiff
