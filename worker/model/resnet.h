#pragma once

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

#include "worker/model/layers.h"
#include "worker/model/parameters.h"

namespace rsidiff::worker {

/// diffusers' ResnetBlock2D with resnet_time_scale_shift "default" (src/diffusers/models/resnet.py).
struct ResnetBlock2D {
  struct Shape {
    int64_t in;
    int64_t out;
    int64_t time_embedding = 0;  ///< 0: not conditioned on time.
    int64_t groups = 32;
    double eps = 1e-6;
    double output_scale_factor = 1;
  };

  ResnetBlock2D(const ParameterScope& scope, const Shape& shape);

  /// x [N, in, h, w]; `time` is silu(time embedding) [N, time_embedding], undefined without.
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& time) const;

  template <typename Visitor>
  void VisitLinears(Visitor&& visit) {
    if (time_emb_proj.has_value()) visit(*time_emb_proj);
  }

  GroupNorm norm1;
  Conv2d conv1;
  std::optional<Linear> time_emb_proj;
  GroupNorm norm2;
  Conv2d conv2;
  std::optional<Conv2d> conv_shortcut;
  double output_scale_factor = 1;
};

/// Halves height and width by a convolution of stride 2. Padding 0 pads right and bottom only, as the VAE
/// does.
struct Downsample2D {
  Downsample2D(const ParameterScope& scope, int64_t channels, int64_t padding);
  at::Tensor operator()(const at::Tensor& x) const;

  Conv2d conv;
};

/// Nearest-neighbour enlargement, then a convolution.
struct Upsample2D {
  Upsample2D(const ParameterScope& scope, int64_t channels);
  /// To `size` (height, width), or to twice the size when it is empty.
  at::Tensor operator()(const at::Tensor& x, at::IntArrayRef size) const;

  Conv2d conv;
};

}  // namespace rsidiff::worker
