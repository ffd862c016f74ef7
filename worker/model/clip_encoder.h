#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "worker/model/attention.h"
#include "worker/model/clip_config.h"
#include "worker/model/layers.h"
#include "worker/model/linear.h"
#include "worker/model/parameters.h"

namespace rsidiff::worker {

/// One pre-norm transformer layer: x += attention(norm(x)); x += mlp(norm(x)).
class ClipEncoderLayer {
 public:
  ClipEncoderLayer(const ClipEncoderConfig& config, const ParameterScope& scope);

  /// [N, S, hidden] to the same.
  at::Tensor Forward(const at::Tensor& x, AttentionMask mask) const;

  /// Row `row` of what Forward gives with AttentionMask::kNone, [N, hidden], without computing the others.
  at::Tensor ForwardRow(const at::Tensor& x, int64_t row) const;

 private:
  at::Tensor FeedForward(const at::Tensor& x) const;
  at::Tensor SplitHeads(const at::Tensor& x) const;

  int64_t heads_;
  ClipActivation activation_;
  LayerNorm layer_norm1_;
  LayerNorm layer_norm2_;
  Linear q_proj_;
  Linear k_proj_;
  Linear v_proj_;
  Linear out_proj_;
  Linear fc1_;
  Linear fc2_;
};

/// The layers of a CLIP tower, "layers.N" in its scope.
class ClipEncoder {
 public:
  ClipEncoder(const ClipEncoderConfig& config, const ParameterScope& scope);

  struct Output {
    at::Tensor last;         // [N, S, hidden], what the last layer gives
    at::Tensor penultimate;  // [N, S, hidden], what it was given
  };
  Output Forward(at::Tensor x, AttentionMask mask) const;

  /// Row `row` of Forward(x, AttentionMask::kNone).last: [N, hidden].
  at::Tensor ForwardRow(at::Tensor x, int64_t row) const;

 private:
  std::vector<ClipEncoderLayer> layers_;
};

}  // namespace rsidiff::worker
