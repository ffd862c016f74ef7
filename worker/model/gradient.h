#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

namespace rsidiff::worker {

/// Whether autograd keeps what is computed from `inputs`: where it does not, memory may be overwritten and
/// kernels without a backward may run.
template <typename... Tensors>
bool RecordsGradient(const Tensors&... inputs) {
  return at::GradMode::is_enabled() && (inputs.requires_grad() || ...);
}

}  // namespace rsidiff::worker
