#pragma once

#include <string>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {

/// What a tensor of open_clip's CLIP (mlfoundations/open_clip, src/open_clip/transformer.py) is to
/// transformers' CLIPModel: the fused in_proj in three, `visual.proj` and `text_projection` transposed, all
/// others renamed. A name that open_clip does not have stays as it is. INVALID_ARGUMENT for a tensor of the
/// wrong number of dimensions.
absl::StatusOr<NamedTensors> MapOpenClipTensor(const std::string& name, const at::Tensor& tensor);

/// A tensor that open_clip's models have and transformers' have not.
inline constexpr char kOpenClipMarker[] = "visual.conv1.weight";

}  // namespace rsidiff::worker
