#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "worker/model/blip_reward_config.h"
#include "worker/model/layers.h"
#include "worker/model/linear.h"
#include "worker/model/parameters.h"

namespace rsidiff::worker {

/// Multi-head attention, output projection, residual and layer norm: BERT's post-norm block (Devlin et al.,
/// arXiv 1810.04805).
struct BertAttention {
  struct Shape {
    int64_t width;
    int64_t heads;
    int64_t source_width;  // of what keys and values are made from
    double layer_norm_eps;
  };

  BertAttention(const ParameterScope& scope, const Shape& shape);

  /// norm(rows + out(attention(rows, source))): [N, R, width] for rows [N, R, width] and source
  /// [N, S, source_width]. `mask`: boolean [N, 1, 1, S], false where nobody looks; may be undefined.
  at::Tensor operator()(const at::Tensor& rows, const at::Tensor& source, const at::Tensor& mask) const;

  int64_t heads;
  Linear query;
  Linear key;
  Linear value;
  Linear dense;
  LayerNorm layer_norm;
};

/// Attention to the text, attention to the picture, feed-forward.
class BlipTextLayer {
 public:
  BlipTextLayer(const BlipTextConfig& config, int64_t picture_width, const ParameterScope& scope);

  struct Input {
    at::Tensor text;     // [N, S, hidden]
    at::Tensor mask;     // boolean [N, 1, 1, S]
    at::Tensor picture;  // [N, P, picture_width]
  };
  /// The first `rows` of each text, [N, rows, hidden]; what comes of the others is not computed.
  at::Tensor Forward(const Input& input, int64_t rows) const;

 private:
  ClipActivation activation_;
  BertAttention self_attention_;
  BertAttention cross_attention_;
  Linear intermediate_;
  Linear output_;
  LayerNorm output_norm_;
};

/// BLIP's text encoder in "multimodal" mode (Li et al., arXiv 2201.12086): BERT without token types, in each
/// layer of which the text also attends to the tokens of a picture.
class BlipTextEncoder {
 public:
  BlipTextEncoder(const BlipTextConfig& config, int64_t picture_width, const ParameterScope& scope);

  /// State of the first token behind the last layer: [N, hidden]. `ids` [N, S] int64, `mask` [N, S] boolean,
  /// true for tokens that count, `picture` [N, P, picture_width].
  at::Tensor FirstToken(const at::Tensor& ids, const at::Tensor& mask, const at::Tensor& picture) const;

 private:
  at::Tensor word_embeddings_;
  at::Tensor position_embeddings_;
  LayerNorm embedding_norm_;
  std::vector<BlipTextLayer> layers_;
};

}  // namespace rsidiff::worker
