#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "worker/model/resnet.h"
#include "worker/model/transformer_2d_model.h"

namespace rsidiff::worker {

/// What every block of the UNet is conditioned on.
struct UNetConditioning {
  at::Tensor time;  ///< silu(time embedding) [N, time_embedding]
  CrossAttentionInput context;
};

/// Sizes of one block of the UNet, down, middle or up. `attention.channels` is the block's width.
struct UNetBlockShape {
  int64_t layers;
  int64_t in;
  int64_t time_embedding;
  double norm_eps;
  bool cross_attention;
  Transformer2DModel::Shape attention;

  int64_t out() const { return attention.channels; }
};

/// diffusers' DownBlock2D and CrossAttnDownBlock2D.
struct DownBlock2D {
  /// Without `downsample_padding` the block keeps the resolution.
  DownBlock2D(const ParameterScope& scope, const UNetBlockShape& shape,
              std::optional<int64_t> downsample_padding);
  /// The output of each layer and of the downsampling; the last one is the block's output.
  std::vector<at::Tensor> operator()(at::Tensor x, const UNetConditioning& conditioning) const;

  std::vector<ResnetBlock2D> resnets;
  std::vector<Transformer2DModel> attentions;  ///< Empty, or one a resnet.
  std::optional<Downsample2D> downsampler;
};

/// diffusers' UNetMidBlock2DCrossAttn, and UNetMidBlock2D without attention.
struct MidBlock2D {
  MidBlock2D(const ParameterScope& scope, const UNetBlockShape& shape, double output_scale_factor);
  at::Tensor operator()(at::Tensor x, const UNetConditioning& conditioning) const;

  std::vector<ResnetBlock2D> resnets;
  std::vector<Transformer2DModel> attentions;  ///< One less than resnets.
};

enum class Upsample { kNo, kYes };

/// diffusers' UpBlock2D and CrossAttnUpBlock2D.
struct UpBlock2D {
  /// `skip_channels`: width of the skip connection that each layer takes, in the order they are taken.
  UpBlock2D(const ParameterScope& scope, const UNetBlockShape& shape,
            const std::vector<int64_t>& skip_channels, Upsample upsample);
  /// Takes one skip connection a layer off the end of `skips`. `upsample_size` (height, width) may be empty.
  at::Tensor operator()(at::Tensor x, std::vector<at::Tensor>& skips, const UNetConditioning& conditioning,
                        at::IntArrayRef upsample_size) const;

  std::vector<ResnetBlock2D> resnets;
  std::vector<Transformer2DModel> attentions;  ///< Empty, or one a resnet.
  std::optional<Upsample2D> upsampler;
};

}  // namespace rsidiff::worker
