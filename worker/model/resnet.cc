#include "worker/model/resnet.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/upsample_nearest2d.h>

namespace rsidiff::worker {

ResnetBlock2D::ResnetBlock2D(const ParameterScope& scope, const Shape& shape)
    : norm1(scope.Sub("norm1"), shape.in, shape.groups, shape.eps),
      conv1(scope.Sub("conv1"), {shape.in, shape.out, 3, 1, 1}),
      norm2(scope.Sub("norm2"), shape.out, shape.groups, shape.eps),
      conv2(scope.Sub("conv2"), {shape.out, shape.out, 3, 1, 1}),
      output_scale_factor(shape.output_scale_factor) {
  if (shape.time_embedding > 0) {
    time_emb_proj.emplace(scope.Sub("time_emb_proj"), shape.time_embedding, shape.out, Bias::kYes);
  }
  if (shape.in != shape.out) {
    conv_shortcut.emplace(scope.Sub("conv_shortcut"), Conv2d::Shape{shape.in, shape.out, 1});
  }
}

at::Tensor ResnetBlock2D::operator()(const at::Tensor& x, const at::Tensor& time) const {
  at::Tensor hidden = conv1(SiluConsuming(norm1(x)));
  if (time_emb_proj.has_value()) {
    at::Tensor shift = (*time_emb_proj)(time).unsqueeze(-1).unsqueeze(-1);
    // conv1's result is ours alone and its backward does not need it.
    hidden.add_(shift);
  }
  hidden = conv2(SiluConsuming(norm2(hidden)));
  hidden.add_(conv_shortcut.has_value() ? (*conv_shortcut)(x) : x);
  return output_scale_factor == 1 ? hidden : hidden / output_scale_factor;
}

Downsample2D::Downsample2D(const ParameterScope& scope, int64_t channels, int64_t padding)
    : conv(scope.Sub("conv"), {channels, channels, 3, 2, padding}) {}

at::Tensor Downsample2D::operator()(const at::Tensor& x) const {
  return conv(conv.padding == 0 ? at::constant_pad_nd(x, {0, 1, 0, 1}) : x);
}

Upsample2D::Upsample2D(const ParameterScope& scope, int64_t channels)
    : conv(scope.Sub("conv"), {channels, channels, 3, 1, 1}) {}

at::Tensor Upsample2D::operator()(const at::Tensor& x, at::IntArrayRef size) const {
  std::vector<int64_t> target =
      size.empty() ? std::vector<int64_t>{2 * x.size(2), 2 * x.size(3)} : size.vec();
  return conv(at::upsample_nearest2d(x, target));
}

}  // namespace rsidiff::worker
