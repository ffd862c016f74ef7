#include "worker/model/attention.h"

#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>

#include "worker/model/gradient.h"

namespace rsidiff::worker {
namespace {

// Where torch's fused CPU kernel has the slower backward: measured in
// docs/decisions/0007-attention-kernels.md.
constexpr int64_t kMatmulMaxKeys = 128;
constexpr int64_t kMatmulMinQueries = 64;

at::Tensor MatmulAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           AttentionMask mask) {
  double scale = 1.0 / std::sqrt(static_cast<double>(q.size(-1)));
  at::Tensor scores = at::matmul(q * scale, k.transpose(-1, -2)).to(at::kFloat);
  if (mask == AttentionMask::kCausal) {
    at::Tensor future = at::ones({q.size(-2), k.size(-2)}, scores.options().dtype(at::kBool)).triu(1);
    scores = scores.masked_fill(future, -INFINITY);
  }
  return at::matmul(at::softmax(scores, -1).to(v.scalar_type()), v);
}

}  // namespace

at::Tensor ScaledDotProductAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                     AttentionMask mask) {
  bool few_keys = k.size(-2) <= kMatmulMaxKeys && q.size(-2) >= kMatmulMinQueries;
  if (q.is_cpu() && few_keys && RecordsGradient(q, k, v)) return MatmulAttention(q, k, v, mask);
  return at::scaled_dot_product_attention(q, k, v, {}, 0.0, mask == AttentionMask::kCausal);
}

void CrossAttentionCache::Prepare(const at::Tensor& encoder_hidden_states) {
  if (context_.defined() && context_.is_same(encoder_hidden_states)) return;
  context_ = encoder_hidden_states;
  entries_.clear();
}

Attention::Attention(const ParameterScope& scope, const Shape& shape) : heads(shape.heads) {
  int64_t inner_dim = shape.heads * shape.head_dim;
  to_q = Linear(scope.Sub("to_q"), shape.query_dim, inner_dim, shape.qkv_bias);
  to_k = Linear(scope.Sub("to_k"), shape.context_dim, inner_dim, shape.qkv_bias);
  to_v = Linear(scope.Sub("to_v"), shape.context_dim, inner_dim, shape.qkv_bias);
  to_out = Linear(scope.Sub("to_out", 0), inner_dim, shape.query_dim, Bias::kYes);
}

at::Tensor Attention::SplitHeads(const at::Tensor& x) const {
  return x.view({x.size(0), x.size(1), heads, -1}).transpose(1, 2);
}

at::Tensor Attention::Attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const {
  return to_out(ScaledDotProductAttention(q, k, v).transpose(1, 2).flatten(2));
}

at::Tensor Attention::Self(const at::Tensor& x) const {
  return Attend(SplitHeads(to_q(x)), SplitHeads(to_k(x)), SplitHeads(to_v(x)));
}

at::Tensor Attention::Cross(const at::Tensor& x, const CrossAttentionInput& input) const {
  at::Tensor q = SplitHeads(to_q(x));
  const at::Tensor& context = input.encoder_hidden_states;
  if (input.cache == nullptr) return Attend(q, SplitHeads(to_k(context)), SplitHeads(to_v(context)));
  CrossAttentionCache::KeyValue& kept = (*input.cache)[this];
  if (!kept.key.defined()) {
    kept.key = SplitHeads(to_k(context)).contiguous();
    kept.value = SplitHeads(to_v(context)).contiguous();
  }
  return Attend(q, kept.key, kept.value);
}

}  // namespace rsidiff::worker
