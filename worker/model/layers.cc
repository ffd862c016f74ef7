#include "worker/model/layers.h"

#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/sin.h>

#include "worker/model/feature_map.h"
#include "worker/model/gradient.h"

namespace rsidiff::worker {

Conv2d::Conv2d(const ParameterScope& scope, const Shape& shape, Bias with_bias)
    : weight(scope.Take("weight", {shape.out, shape.in, shape.kernel, shape.kernel})),
      stride(shape.stride),
      padding(shape.padding) {
  if (with_bias == Bias::kYes) bias = scope.Take("bias", {shape.out});
}

at::Tensor Conv2d::operator()(const at::Tensor& x) const {
  if (PackedConvolution::Serves(x, weight)) return (*packed)(x, weight, bias, {stride, padding});
  return at::conv2d(x, weight, bias, {stride, stride}, {padding, padding});
}

GroupNorm::GroupNorm(const ParameterScope& scope, int64_t channels, int64_t groups, double eps)
    : weight(scope.Take("weight", {channels})),
      bias(scope.Take("bias", {channels})),
      groups(groups),
      eps(eps) {}

at::Tensor GroupNorm::operator()(const at::Tensor& x) const {
  if (IsInInferenceLayout(x)) return GroupNormOfChannelsLast(x, groups, weight, bias, eps);
  return at::group_norm(x, groups, weight, bias, eps);
}

LayerNorm::LayerNorm(const ParameterScope& scope, int64_t channels, double eps)
    : weight(scope.Take("weight", {channels})), bias(scope.Take("bias", {channels})), eps(eps) {}

at::Tensor LayerNorm::operator()(const at::Tensor& x) const {
  return at::layer_norm(x, weight.sizes(), weight, bias, eps);
}

at::Tensor SiluConsuming(at::Tensor x) {
  if (RecordsGradient(x)) return at::silu(x);
  return at::silu_(x);
}

at::Tensor TimestepSinusoids::operator()(const at::Tensor& timesteps) const {
  int64_t half = channels / 2;
  auto options = at::TensorOptions().dtype(at::kFloat).device(timesteps.device());
  at::Tensor exponent = at::arange(half, options) * -std::log(10000.0);
  at::Tensor frequencies = at::exp(exponent / (static_cast<double>(half) - freq_shift));
  at::Tensor angles = timesteps.to(at::kFloat).unsqueeze(1) * frequencies.unsqueeze(0);
  at::Tensor first = flip_sin_to_cos ? at::cos(angles) : at::sin(angles);
  at::Tensor second = flip_sin_to_cos ? at::sin(angles) : at::cos(angles);
  at::Tensor sinusoids = at::cat({first, second}, 1);
  return channels % 2 == 0 ? sinusoids : at::constant_pad_nd(sinusoids, {0, 1});
}

TimestepEmbedding::TimestepEmbedding(const ParameterScope& scope, int64_t in, int64_t out)
    : linear_1(scope.Sub("linear_1"), in, out, Bias::kYes),
      linear_2(scope.Sub("linear_2"), out, out, Bias::kYes) {}

at::Tensor TimestepEmbedding::operator()(const at::Tensor& x) const {
  return linear_2(SiluConsuming(linear_1(x)));
}

}  // namespace rsidiff::worker
