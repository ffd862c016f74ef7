#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "worker/model/attention.h"
#include "worker/model/layers.h"
#include "worker/model/parameters.h"

namespace rsidiff::worker {

/// Whether a transformer block's first attention looks at its own input or, like the second, at the context.
enum class FirstAttention { kSelf, kCross };

/// Self-attention, cross-attention and a GEGLU feed-forward layer, each after a LayerNorm and added to its
/// input (diffusers' BasicTransformerBlock with norm_type "layer_norm").
struct BasicTransformerBlock {
  struct Shape {
    int64_t dim;
    int64_t heads;
    int64_t head_dim;
    int64_t cross_attention_dim;
    FirstAttention first = FirstAttention::kSelf;
  };

  BasicTransformerBlock(const ParameterScope& scope, const Shape& shape);
  /// x [N, L, dim]
  at::Tensor operator()(at::Tensor x, const CrossAttentionInput& input) const;

  template <typename Visitor>
  void VisitLinears(Visitor&& visit) {
    attn1.VisitLinears(visit);
    attn2.VisitLinears(visit);
    visit(ff_in);
    visit(ff_out);
  }

  FirstAttention first;
  LayerNorm norm1;
  Attention attn1;
  LayerNorm norm2;
  Attention attn2;
  LayerNorm norm3;
  Linear ff_in;
  Linear ff_out;
};

/// Transformer blocks over the pixels of a feature map (diffusers' Transformer2DModel on continuous input).
struct Transformer2DModel {
  enum class Projection { kConvolution, kLinear };
  struct Shape {
    int64_t channels;
    int64_t heads;
    int64_t head_dim;
    int64_t layers;
    int64_t cross_attention_dim;
    int64_t groups;
    Projection projection = Projection::kConvolution;
    FirstAttention first = FirstAttention::kSelf;
  };

  Transformer2DModel(const ParameterScope& scope, const Shape& shape);
  /// x [N, channels, h, w]
  at::Tensor operator()(const at::Tensor& x, const CrossAttentionInput& input) const;

  template <typename Visitor>
  void VisitLinears(Visitor&& visit) {
    if (linear_in.has_value()) visit(*linear_in);
    for (BasicTransformerBlock& block : blocks) block.VisitLinears(visit);
    if (linear_out.has_value()) visit(*linear_out);
  }

  GroupNorm norm;
  std::optional<Conv2d> conv_in;  // Either the two convolutions or the two linear layers.
  std::optional<Conv2d> conv_out;
  std::optional<Linear> linear_in;
  std::optional<Linear> linear_out;
  std::vector<BasicTransformerBlock> blocks;
};

}  // namespace rsidiff::worker
