#pragma once

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rsidiff::worker {

/// Activation of a CLIP feed-forward block, named as `hidden_act` names it.
enum class ClipActivation {
  kQuickGelu,  // x * sigmoid(1.702 x): OpenAI's weights
  kGelu,       // exact, by the error function: OpenCLIP's weights
  kGeluTanh,   // gelu_new, gelu_fast, gelu_pytorch_tanh
  kSilu,
  kRelu,
};

/// INVALID_ARGUMENT that lists the supported names.
absl::StatusOr<ClipActivation> ParseClipActivation(absl::string_view name);

/// Element by element; the result may share `x`'s memory when no gradient is recorded.
at::Tensor ApplyClipActivation(ClipActivation activation, at::Tensor x);

}  // namespace rsidiff::worker
