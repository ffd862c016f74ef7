#include "worker/model/clip_activation.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include "absl/strings/str_cat.h"
#include "worker/model/gradient.h"

namespace rsidiff::worker {
namespace {

struct Name {
  const char* text;
  ClipActivation activation;
};

constexpr Name kNames[] = {
    {"quick_gelu", ClipActivation::kQuickGelu},
    {"gelu", ClipActivation::kGelu},
    {"gelu_python", ClipActivation::kGelu},
    {"gelu_new", ClipActivation::kGeluTanh},
    {"gelu_fast", ClipActivation::kGeluTanh},
    {"gelu_pytorch_tanh", ClipActivation::kGeluTanh},
    {"silu", ClipActivation::kSilu},
    {"swish", ClipActivation::kSilu},
    {"relu", ClipActivation::kRelu},
};

constexpr double kQuickGeluSlope = 1.702;

}  // namespace

absl::StatusOr<ClipActivation> ParseClipActivation(absl::string_view name) {
  std::string supported;
  for (const Name& known : kNames) {
    if (name == known.text) return known.activation;
    absl::StrAppend(&supported, supported.empty() ? "" : ", ", known.text);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unsupported activation; supported are ", supported, ": \"", name, "\""));
}

at::Tensor ApplyClipActivation(ClipActivation activation, at::Tensor x) {
  const bool in_place = !RecordsGradient(x);
  switch (activation) {
    case ClipActivation::kQuickGelu:
      // x * sigmoid(s x) = silu(s x) / s, which needs no second buffer.
      if (in_place) return at::silu_(x.mul_(kQuickGeluSlope)).mul_(1.0 / kQuickGeluSlope);
      return x * at::sigmoid(x * kQuickGeluSlope);
    case ClipActivation::kGelu:
      return in_place ? at::gelu_(x) : at::gelu(x);
    case ClipActivation::kGeluTanh:
      return in_place ? at::gelu_(x, "tanh") : at::gelu(x, "tanh");
    case ClipActivation::kSilu:
      return in_place ? at::silu_(x) : at::silu(x);
    case ClipActivation::kRelu:
      return in_place ? at::relu_(x) : at::relu(x);
  }
  TORCH_CHECK(false, "unknown ClipActivation");
}

}  // namespace rsidiff::worker
