#include "worker/model/clip_encoder.h"

#include <ATen/TensorOperators.h>

namespace rsidiff::worker {

ClipEncoderLayer::ClipEncoderLayer(const ClipEncoderConfig& config, const ParameterScope& scope)
    : heads_(config.num_attention_heads),
      activation_(config.hidden_act),
      layer_norm1_(scope.Sub("layer_norm1"), config.hidden_size, config.layer_norm_eps),
      layer_norm2_(scope.Sub("layer_norm2"), config.hidden_size, config.layer_norm_eps) {
  const ParameterScope attention = scope.Sub("self_attn");
  const int64_t width = config.hidden_size;
  q_proj_ = Linear(attention.Sub("q_proj"), width, width, Bias::kYes);
  k_proj_ = Linear(attention.Sub("k_proj"), width, width, Bias::kYes);
  v_proj_ = Linear(attention.Sub("v_proj"), width, width, Bias::kYes);
  out_proj_ = Linear(attention.Sub("out_proj"), width, width, Bias::kYes);
  const ParameterScope mlp = scope.Sub("mlp");
  fc1_ = Linear(mlp.Sub("fc1"), width, config.intermediate_size, Bias::kYes);
  fc2_ = Linear(mlp.Sub("fc2"), config.intermediate_size, width, Bias::kYes);
}

at::Tensor ClipEncoderLayer::SplitHeads(const at::Tensor& x) const {
  return x.unflatten(2, {heads_, -1}).transpose(1, 2);  // [N, heads, S, head width]
}

at::Tensor ClipEncoderLayer::FeedForward(const at::Tensor& x) const {
  return fc2_(ApplyClipActivation(activation_, fc1_(layer_norm2_(x))));
}

at::Tensor ClipEncoderLayer::Forward(const at::Tensor& x, AttentionMask mask) const {
  const at::Tensor normed = layer_norm1_(x);
  const at::Tensor attended = ScaledDotProductAttention(
      SplitHeads(q_proj_(normed)), SplitHeads(k_proj_(normed)), SplitHeads(v_proj_(normed)), mask);
  const at::Tensor sum = x + out_proj_(attended.transpose(1, 2).flatten(2));
  return sum + FeedForward(sum);
}

at::Tensor ClipEncoderLayer::ForwardRow(const at::Tensor& x, int64_t row) const {
  const at::Tensor normed = layer_norm1_(x);
  const at::Tensor query = q_proj_(normed.narrow(1, row, 1));
  const at::Tensor attended =
      ScaledDotProductAttention(SplitHeads(query), SplitHeads(k_proj_(normed)), SplitHeads(v_proj_(normed)));
  const at::Tensor sum = x.select(1, row) + out_proj_(attended.flatten(1));
  return sum + FeedForward(sum);
}

ClipEncoder::ClipEncoder(const ClipEncoderConfig& config, const ParameterScope& scope) {
  layers_.reserve(config.num_hidden_layers);
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    layers_.emplace_back(config, scope.Sub("layers", i));
  }
}

ClipEncoder::Output ClipEncoder::Forward(at::Tensor x, AttentionMask mask) const {
  at::Tensor penultimate = x;
  for (const ClipEncoderLayer& layer : layers_) {
    penultimate = x;
    x = layer.Forward(x, mask);
  }
  return {x, penultimate};
}

at::Tensor ClipEncoder::ForwardRow(at::Tensor x, int64_t row) const {
  for (size_t i = 0; i + 1 < layers_.size(); ++i) x = layers_[i].Forward(x, AttentionMask::kNone);
  return layers_.back().ForwardRow(x, row);
}

}  // namespace rsidiff::worker
