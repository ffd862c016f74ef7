#include "worker/model/geglu.h"

#include <optional>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/Version.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/ivalue.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>

#include "worker/model/gradient.h"

namespace rsidiff::worker {
namespace {

using LinearPointwise = at::Tensor(const at::Tensor& input, const at::Tensor& weight,
                                   const std::optional<at::Tensor>& bias, c10::string_view activation,
                                   c10::List<std::optional<at::Scalar>> scalars,
                                   std::optional<c10::string_view> algorithm);

// torch's linear layer with an activation behind it, which only the dispatcher knows. Empty in a torch
// without oneDNN, and where the processor has no AVX-512: there oneDNN gives a row other bits by its place
// among the rows, and a sample's would depend on its company.
const std::optional<c10::TypedOperatorHandle<LinearPointwise>>& FusedLinear() {
  static const auto* fused = [] {
    auto* found = new std::optional<c10::TypedOperatorHandle<LinearPointwise>>();
    if (at::get_cpu_capability() != "AVX512") return found;
    const auto handle = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
    if (handle.has_value() && handle->hasKernelForDispatchKey(c10::DispatchKey::CPU)) {
      *found = handle->typed<LinearPointwise>();
    }
    return found;
  }();
  return *fused;
}

}  // namespace

at::Tensor Geglu(const Linear& projection, const at::Tensor& x) {
  const bool plain = !projection.lora_down.defined() && !RecordsGradient(x, projection.weight);
  if (plain && x.is_cpu() && x.scalar_type() == at::kFloat && FusedLinear().has_value()) {
    const int64_t half = projection.out_features() / 2;
    const at::Tensor gate =
        FusedLinear()->call(x, projection.weight.narrow(0, half, half), projection.bias.narrow(0, half, half),
                            "gelu", c10::List<std::optional<at::Scalar>>(), "none");
    return at::linear(x, projection.weight.narrow(0, 0, half), projection.bias.narrow(0, 0, half)).mul_(gate);
  }
  const std::vector<at::Tensor> halves = projection(x).chunk(2, -1);
  return halves[0] * at::gelu(halves[1]);
}

}  // namespace rsidiff::worker
