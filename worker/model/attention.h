#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include <ATen/core/Tensor.h>

#include "worker/model/layers.h"
#include "worker/model/linear.h"
#include "worker/model/parameters.h"

namespace rsidiff::worker {

enum class AttentionMask { kNone, kCausal };

/// softmax(q kᵀ / √d) v for q, k, v [N, heads, length, d]. torch's fused kernel, except on the CPU while
/// gradients are recorded, where two matrix products can be faster: docs/decisions/0007-attention-kernels.md.
at::Tensor ScaledDotProductAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                     AttentionMask mask = AttentionMask::kNone);

struct Attention;

/// Keys and values of the cross-attentions for one `encoder_hidden_states`. Emptied when another comes.
class CrossAttentionCache {
 public:
  struct KeyValue {
    at::Tensor key;
    at::Tensor value;
  };

  /// Empties the cache unless it was filled for this very tensor.
  void Prepare(const at::Tensor& encoder_hidden_states);
  KeyValue& operator[](const Attention* attention) { return entries_[attention]; }

 private:
  at::Tensor context_;
  std::unordered_map<const Attention*, KeyValue> entries_;
};

/// What a transformer block attends to besides itself.
struct CrossAttentionInput {
  at::Tensor encoder_hidden_states;  ///< [N, S, D]
  CrossAttentionCache* cache = nullptr;
};

/// Multi-head attention with output projection: diffusers' Attention without masks and norms.
struct Attention {
  struct Shape {
    int64_t query_dim;
    int64_t context_dim;
    int64_t heads;
    int64_t head_dim;
    Bias qkv_bias = Bias::kNo;
  };

  Attention() = default;
  Attention(const ParameterScope& scope, const Shape& shape);

  /// x [N, L, query_dim] attends to itself.
  at::Tensor Self(const at::Tensor& x) const;
  /// x attends to the context.
  at::Tensor Cross(const at::Tensor& x, const CrossAttentionInput& input) const;

  template <typename Visitor>
  void VisitLinears(Visitor&& visit) {
    for (Linear* linear : {&to_q, &to_k, &to_v, &to_out}) visit(*linear);
  }

  int64_t heads = 1;
  Linear to_q;
  Linear to_k;
  Linear to_v;
  Linear to_out;

 private:
  at::Tensor SplitHeads(const at::Tensor& x) const;
  at::Tensor Attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const;
};

}  // namespace rsidiff::worker
