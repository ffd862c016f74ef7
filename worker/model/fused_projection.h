#pragma once

#include <string>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {

/// The thirds of a tensor that holds query, key and value one after another: views, named
/// "SCOPE.q_proj.LEAF", "SCOPE.k_proj.LEAF" and "SCOPE.v_proj.LEAF". INVALID_ARGUMENT, with `name`, when its
/// first dimension is no multiple of 3.
absl::StatusOr<NamedTensors> SplitFusedProjection(const std::string& name, const at::Tensor& fused,
                                                  absl::string_view scope, absl::string_view leaf);

}  // namespace rsidiff::worker
