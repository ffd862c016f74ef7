#include "worker/model/linear.h"

#include <ATen/ops/linear.h>

namespace rsidiff::worker {

Linear::Linear(const ParameterScope& scope, int64_t in, int64_t out, Bias with_bias)
    : path(scope.path()), weight(scope.Take("weight", {out, in})) {
  if (with_bias == Bias::kYes) bias = scope.Take("bias", {out});
}

at::Tensor Linear::operator()(const at::Tensor& x) const {
  at::Tensor y = at::linear(x, weight, bias.defined() ? c10::optional<at::Tensor>(bias) : c10::nullopt);
  if (!lora_down.defined()) return y;
  return y.add(at::linear(at::linear(x, lora_down), lora_up), lora_scale);
}

}  // namespace rsidiff::worker
