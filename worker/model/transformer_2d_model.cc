#include "worker/model/transformer_2d_model.h"

#include <ATen/TensorOperators.h>

#include "worker/model/feature_map.h"
#include "worker/model/geglu.h"

namespace rsidiff::worker {
namespace {

constexpr double kLayerNormEps = 1e-5;
constexpr double kGroupNormEps = 1e-6;
constexpr int64_t kFeedForwardFactor = 4;

}  // namespace

BasicTransformerBlock::BasicTransformerBlock(const ParameterScope& scope, const Shape& shape)
    : first(shape.first),
      norm1(scope.Sub("norm1"), shape.dim, kLayerNormEps),
      attn1(scope.Sub("attn1"),
            {shape.dim, shape.first == FirstAttention::kCross ? shape.cross_attention_dim : shape.dim,
             shape.heads, shape.head_dim}),
      norm2(scope.Sub("norm2"), shape.dim, kLayerNormEps),
      attn2(scope.Sub("attn2"), {shape.dim, shape.cross_attention_dim, shape.heads, shape.head_dim}),
      norm3(scope.Sub("norm3"), shape.dim, kLayerNormEps),
      ff_in(scope.Sub("ff.net.0.proj"), shape.dim, 2 * kFeedForwardFactor * shape.dim, Bias::kYes),
      ff_out(scope.Sub("ff.net", 2), kFeedForwardFactor * shape.dim, shape.dim, Bias::kYes) {}

at::Tensor BasicTransformerBlock::operator()(at::Tensor x, const CrossAttentionInput& input) const {
  // A linear layer's result is ours alone and its backward does not need it, so the sums go there.
  at::Tensor normed = norm1(x);
  x = (first == FirstAttention::kCross ? attn1.Cross(normed, input) : attn1.Self(normed)).add_(x);
  x = attn2.Cross(norm2(x), input).add_(x);
  return ff_out(Geglu(ff_in, norm3(x))).add_(x);
}

Transformer2DModel::Transformer2DModel(const ParameterScope& scope, const Shape& shape)
    : norm(scope.Sub("norm"), shape.channels, shape.groups, kGroupNormEps) {
  int64_t inner = shape.heads * shape.head_dim;
  if (shape.projection == Projection::kLinear) {
    linear_in.emplace(scope.Sub("proj_in"), shape.channels, inner, Bias::kYes);
    linear_out.emplace(scope.Sub("proj_out"), inner, shape.channels, Bias::kYes);
  } else {
    conv_in.emplace(scope.Sub("proj_in"), Conv2d::Shape{shape.channels, inner, 1});
    conv_out.emplace(scope.Sub("proj_out"), Conv2d::Shape{inner, shape.channels, 1});
  }
  BasicTransformerBlock::Shape block{inner, shape.heads, shape.head_dim, shape.cross_attention_dim,
                                     shape.first};
  for (int64_t i = 0; i < shape.layers; ++i) blocks.emplace_back(scope.Sub("transformer_blocks", i), block);
}

at::Tensor Transformer2DModel::operator()(const at::Tensor& x, const CrossAttentionInput& input) const {
  at::Tensor hidden = norm(x);
  hidden = linear_in.has_value() ? (*linear_in)(ToTokens(hidden)) : ToTokens((*conv_in)(hidden));
  for (const BasicTransformerBlock& block : blocks) hidden = block(std::move(hidden), input);
  hidden =
      linear_out.has_value() ? ToFeatureMap((*linear_out)(hidden), x) : (*conv_out)(ToFeatureMap(hidden, x));
  return hidden.add_(x);
}

}  // namespace rsidiff::worker
