#include "worker/model/blip_text_encoder.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

namespace rsidiff::worker {

BertAttention::BertAttention(const ParameterScope& scope, const Shape& shape)
    : heads(shape.heads),
      query(scope.Sub("self.query"), shape.width, shape.width, Bias::kYes),
      key(scope.Sub("self.key"), shape.source_width, shape.width, Bias::kYes),
      value(scope.Sub("self.value"), shape.source_width, shape.width, Bias::kYes),
      dense(scope.Sub("output.dense"), shape.width, shape.width, Bias::kYes),
      layer_norm(scope.Sub("output.LayerNorm"), shape.width, shape.layer_norm_eps) {}

at::Tensor BertAttention::operator()(const at::Tensor& rows, const at::Tensor& source,
                                     const at::Tensor& mask) const {
  const auto split = [this](const at::Tensor& x) { return x.unflatten(2, {heads, -1}).transpose(1, 2); };
  const at::Tensor attended =
      at::scaled_dot_product_attention(split(query(rows)), split(key(source)), split(value(source)),
                                       mask.defined() ? c10::optional<at::Tensor>(mask) : c10::nullopt);
  return layer_norm(rows + dense(attended.transpose(1, 2).flatten(2)));
}

BlipTextLayer::BlipTextLayer(const BlipTextConfig& config, int64_t picture_width, const ParameterScope& scope)
    : activation_(config.encoder.hidden_act),
      self_attention_(scope.Sub("attention"), {config.encoder.hidden_size, config.encoder.num_attention_heads,
                                               config.encoder.hidden_size, config.encoder.layer_norm_eps}),
      cross_attention_(scope.Sub("crossattention"),
                       {config.encoder.hidden_size, config.encoder.num_attention_heads, picture_width,
                        config.encoder.layer_norm_eps}),
      intermediate_(scope.Sub("intermediate.dense"), config.encoder.hidden_size,
                    config.encoder.intermediate_size, Bias::kYes),
      output_(scope.Sub("output.dense"), config.encoder.intermediate_size, config.encoder.hidden_size,
              Bias::kYes),
      output_norm_(scope.Sub("output.LayerNorm"), config.encoder.hidden_size, config.encoder.layer_norm_eps) {
}

at::Tensor BlipTextLayer::Forward(const Input& input, int64_t rows) const {
  at::Tensor x = self_attention_(input.text.narrow(1, 0, rows), input.text, input.mask);
  x = cross_attention_(x, input.picture, {});
  return output_norm_(x + output_(ApplyClipActivation(activation_, intermediate_(x))));
}

BlipTextEncoder::BlipTextEncoder(const BlipTextConfig& config, int64_t picture_width,
                                 const ParameterScope& scope)
    : word_embeddings_(
          scope.Take("embeddings.word_embeddings.weight", {config.vocab_size, config.encoder.hidden_size})),
      position_embeddings_(scope.Take("embeddings.position_embeddings.weight",
                                      {config.max_position_embeddings, config.encoder.hidden_size})),
      embedding_norm_(scope.Sub("embeddings.LayerNorm"), config.encoder.hidden_size,
                      config.encoder.layer_norm_eps) {
  layers_.reserve(config.encoder.num_hidden_layers);
  for (int64_t i = 0; i < config.encoder.num_hidden_layers; ++i) {
    layers_.emplace_back(config, picture_width, scope.Sub("encoder.layer", i));
  }
}

at::Tensor BlipTextEncoder::FirstToken(const at::Tensor& ids, const at::Tensor& mask,
                                       const at::Tensor& picture) const {
  TORCH_CHECK(ids.dim() == 2 && ids.size(1) >= 1 && ids.size(1) <= position_embeddings_.size(0),
              "token ids should be [N, 1..", position_embeddings_.size(0), "], not ", ids.sizes());
  const at::Tensor embedded =
      at::embedding(word_embeddings_, ids) + position_embeddings_.narrow(0, 0, ids.size(1));
  BlipTextLayer::Input input{embedding_norm_(embedded), mask.unsqueeze(1).unsqueeze(1), picture};
  for (size_t i = 0; i < layers_.size(); ++i) {
    // Only the first token leaves the last layer.
    input.text = layers_[i].Forward(input, i + 1 < layers_.size() ? ids.size(1) : 1);
  }
  return input.text.select(1, 0);
}

}  // namespace rsidiff::worker
