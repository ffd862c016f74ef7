#pragma once

#include <cstdint>
#include <memory>

#include <ATen/core/Tensor.h>

#include "worker/model/linear.h"
#include "worker/model/packed_convolution.h"
#include "worker/model/parameters.h"

namespace rsidiff::worker {

/// Square kernel, same padding on all sides.
struct Conv2d {
  struct Shape {
    int64_t in;
    int64_t out;
    int64_t kernel;
    int64_t stride = 1;
    int64_t padding = 0;
  };

  Conv2d() = default;
  Conv2d(const ParameterScope& scope, const Shape& shape, Bias with_bias = Bias::kYes);
  at::Tensor operator()(const at::Tensor& x) const;

  at::Tensor weight;
  at::Tensor bias;
  int64_t stride = 1;
  int64_t padding = 0;
  std::unique_ptr<PackedConvolution> packed = std::make_unique<PackedConvolution>();
};

struct GroupNorm {
  GroupNorm() = default;
  GroupNorm(const ParameterScope& scope, int64_t channels, int64_t groups, double eps);
  at::Tensor operator()(const at::Tensor& x) const;

  at::Tensor weight;
  at::Tensor bias;
  int64_t groups = 1;
  double eps = 1e-5;
};

struct LayerNorm {
  LayerNorm() = default;
  LayerNorm(const ParameterScope& scope, int64_t channels, double eps);
  at::Tensor operator()(const at::Tensor& x) const;

  at::Tensor weight;
  at::Tensor bias;
  double eps = 1e-5;
};

/// x · sigmoid(x). Overwrites x where no gradient is recorded: pass only tensors that nobody else uses.
at::Tensor SiluConsuming(at::Tensor x);

/// Sinusoids of the timesteps, fp32 [N, channels] (Vaswani et al., arXiv 1706.03762; diffusers
/// get_timestep_embedding with max_period 10000).
struct TimestepSinusoids {
  int64_t channels;
  bool flip_sin_to_cos;
  double freq_shift;

  /// timesteps [N], any number type.
  at::Tensor operator()(const at::Tensor& timesteps) const;
};

/// linear_2(silu(linear_1(x))).
struct TimestepEmbedding {
  TimestepEmbedding() = default;
  TimestepEmbedding(const ParameterScope& scope, int64_t in, int64_t out);
  at::Tensor operator()(const at::Tensor& x) const;

  Linear linear_1;
  Linear linear_2;
};

}  // namespace rsidiff::worker
