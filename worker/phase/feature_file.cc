#include "worker/phase/feature_file.h"

#include <filesystem>
#include <memory>
#include <utility>

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace rsidiff::worker {

absl::StatusOr<at::Tensor> ReadTensor(ArtifactStore& store, const std::string& digest, const std::string& key,
                                      int64_t dimensions) {
  RSIDIFF_ASSIGN_OR_RETURN(std::filesystem::path path, store.LocalPath(digest));
  RSIDIFF_ASSIGN_OR_RETURN(std::shared_ptr<SafetensorsFile> file, SafetensorsFile::Open(path));
  RSIDIFF_ASSIGN_OR_RETURN(at::Tensor tensor, file->Get(key));
  if (tensor.dim() != dimensions) {
    return absl::InvalidArgumentError(absl::StrCat("artifact ", digest, ": tensor ", key, " has ",
                                                   tensor.dim(), " dimensions, not ", dimensions));
  }
  if (!at::isfinite(tensor).all().item<bool>()) {
    return absl::InvalidArgumentError(absl::StrCat("artifact ", digest, ": tensor ", key, " is not finite"));
  }
  return tensor;
}

absl::StatusOr<NamedTensors> ReadTensors(ArtifactStore& store, const std::string& digest) {
  RSIDIFF_ASSIGN_OR_RETURN(std::string bytes, store.Get(digest));
  return ParseSafetensors(std::move(bytes), absl::StrCat("artifact ", digest));
}

absl::StatusOr<at::Tensor> ReadFeatures(ArtifactStore& store, const std::string& digest) {
  return ReadTensor(store, digest, "features", 2);
}

absl::StatusOr<at::Tensor> ReadFeatureFiles(ArtifactStore& store, const std::vector<std::string>& digests,
                                            TaskParts& parts) {
  if (digests.empty()) return absl::InvalidArgumentError("there are no features files");
  std::vector<at::Tensor> blocks;
  for (const std::string& digest : digests) {
    RSIDIFF_RETURN_IF_ERROR(parts.Begin());
    RSIDIFF_ASSIGN_OR_RETURN(at::Tensor block, ReadFeatures(store, digest));
    if (!blocks.empty() && block.size(1) != blocks.front().size(1)) {
      return absl::InvalidArgumentError(absl::StrCat("artifact ", digest, ": features have row length ",
                                                     block.size(1), ", not ", blocks.front().size(1)));
    }
    blocks.push_back(block.to(at::kFloat));
  }
  return at::cat(blocks);
}

}  // namespace rsidiff::worker
