#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "common/artifact/store.h"
#include "worker/phase/task_parts.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {

/// The tensor `key` of a safetensors artifact, mapped. Errors name the digest; INVALID_ARGUMENT when it does
/// not have `dimensions` dimensions or is not finite.
absl::StatusOr<at::Tensor> ReadTensor(ArtifactStore& store, const std::string& digest, const std::string& key,
                                      int64_t dimensions);

/// All tensors of a safetensors artifact, read into memory. Errors name the digest.
absl::StatusOr<NamedTensors> ReadTensors(ArtifactStore& store, const std::string& digest);

/// "features" [n, D] of a SCORE result.
absl::StatusOr<at::Tensor> ReadFeatures(ArtifactStore& store, const std::string& digest);

/// The rows of several features files below each other, in order: [sum n, D]; a file is one of the task's
/// `parts`. INVALID_ARGUMENT when there is no file or row lengths differ; CANCELLED between two files.
absl::StatusOr<at::Tensor> ReadFeatureFiles(ArtifactStore& store, const std::vector<std::string>& digests,
                                            TaskParts& parts);

}  // namespace rsidiff::worker
