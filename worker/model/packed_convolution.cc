#include "worker/model/packed_convolution.h"

#include <optional>

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/ivalue.h>

#include "worker/tensor/file_pages.h"

namespace rsidiff::worker {
namespace {

// Above, bringing the weights into shape is less than a twentieth of the work.
constexpr int64_t kMaxPixels = 2048;

using Reorder = at::Tensor(const at::Tensor& weight, at::IntArrayRef padding, at::IntArrayRef stride,
                           at::IntArrayRef dilation, int64_t groups, at::OptionalIntArrayRef input_size);
using Convolution = at::Tensor(const at::Tensor& x, const at::Tensor& weight,
                               const std::optional<at::Tensor>& bias, at::IntArrayRef padding,
                               at::IntArrayRef stride, at::IntArrayRef dilation, int64_t groups,
                               c10::string_view activation, c10::List<std::optional<at::Scalar>> scalars,
                               std::optional<c10::string_view> algorithm);

// torch's operators behind at::conv2d, which only the dispatcher knows.
struct Operators {
  c10::TypedOperatorHandle<Reorder> reorder;
  c10::TypedOperatorHandle<Convolution> convolution;
};

// Empty in a torch without oneDNN.
const std::optional<Operators>& OneDnn() {
  static const auto* operators = [] {
    auto* found = new std::optional<Operators>();
    c10::Dispatcher& dispatcher = c10::Dispatcher::singleton();
    const auto reorder = dispatcher.findSchema({"mkldnn::_reorder_convolution_weight", ""});
    const auto convolution = dispatcher.findSchema({"mkldnn::_convolution_pointwise", ""});
    if (reorder.has_value() && convolution.has_value() &&
        reorder->hasKernelForDispatchKey(c10::DispatchKey::CPU) &&
        convolution->hasKernelForDispatchKey(c10::DispatchKey::MkldnnCPU)) {
      *found = Operators{reorder->typed<Reorder>(), convolution->typed<Convolution>()};
    }
    return found;
  }();
  return *operators;
}

}  // namespace

bool PackedConvolution::Serves(const at::Tensor& x, const at::Tensor& weight) {
  return x.is_cpu() && x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat &&
         x.is_contiguous(at::MemoryFormat::ChannelsLast) && !at::GradMode::is_enabled() &&
         !weight.is_inference() && x.size(0) * x.size(2) * x.size(3) <= kMaxPixels && OneDnn().has_value();
}

at::Tensor PackedConvolution::operator()(const at::Tensor& x, const at::Tensor& weight,
                                         const at::Tensor& bias, const Stride& stride) {
  const int64_t strides[] = {stride.stride, stride.stride};
  const int64_t padding[] = {stride.padding, stride.padding};
  const int64_t dilation[] = {1, 1};
  if (weight_version_ != weight._version() || x.sizes() != at::IntArrayRef(packed_for_)) {
    packed_ = OneDnn()->reorder.call(weight, padding, strides, dilation, 1, x.sizes());
    ReleaseFilePages(weight);
    packed_for_ = x.sizes().vec();
    weight_version_ = weight._version();
  }
  return OneDnn()->convolution.call(x, packed_, bias, padding, strides, dilation, 1, "none",
                                    c10::List<std::optional<at::Scalar>>(), "");
}

}  // namespace rsidiff::worker
