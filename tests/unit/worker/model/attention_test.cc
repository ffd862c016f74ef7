#include "worker/model/attention.h"

#include <cmath>

#include <ATen/ATen.h>

#include "gtest/gtest.h"

namespace rsidiff::worker {
namespace {

struct Projections {
  at::Tensor q, k, v;
};

Projections Random(int64_t queries, int64_t keys, int64_t head_dim) {
  at::manual_seed(3);
  return {at::randn({2, 3, queries, head_dim}), at::randn({2, 3, keys, head_dim}),
          at::randn({2, 3, keys, head_dim})};
}

// softmax(q kᵀ / √d) v in double precision.
at::Tensor Reference(const Projections& x, AttentionMask mask) {
  at::Tensor scores = at::matmul(x.q.to(at::kDouble), x.k.to(at::kDouble).transpose(-1, -2)) /
                      std::sqrt(static_cast<double>(x.q.size(-1)));
  if (mask == AttentionMask::kCausal) scores = scores + at::full_like(scores, -INFINITY).triu(1);
  return at::matmul(at::softmax(scores, -1), x.v.to(at::kDouble));
}

TEST(AttentionTest, WithAndWithoutGradientsAgreeWithTheDefinition) {
  // Lengths on both sides of the choice between kernels.
  for (auto [length, mask] : {std::pair(9, AttentionMask::kNone), std::pair(9, AttentionMask::kCausal),
                              std::pair(70, AttentionMask::kNone), std::pair(70, AttentionMask::kCausal)}) {
    Projections x = Random(length, length, 5);
    at::Tensor expected = Reference(x, mask);
    at::Tensor plain = ScaledDotProductAttention(x.q, x.k, x.v, mask);
    EXPECT_TRUE(at::allclose(plain.to(at::kDouble), expected, 1e-5, 1e-6));
    x.q.set_requires_grad(true);
    at::Tensor recorded = ScaledDotProductAttention(x.q, x.k, x.v, mask);
    EXPECT_TRUE(recorded.requires_grad());
    EXPECT_TRUE(at::allclose(recorded.to(at::kDouble), expected, 1e-5, 1e-6));
  }
}

TEST(AttentionTest, GradientsAreThoseOfTheDefinition) {
  for (int64_t queries : {6, 70}) {
    Projections x = Random(queries, 4, 8);
    auto gradients = [&x](auto&& attend) {
      for (at::Tensor* tensor : {&x.q, &x.k, &x.v}) {
        tensor->mutable_grad() = at::Tensor();
        tensor->set_requires_grad(true);
      }
      attend().square().sum().backward();
      return at::cat({x.q.grad().flatten(), x.k.grad().flatten(), x.v.grad().flatten()});
    };
    at::Tensor actual = gradients([&] { return ScaledDotProductAttention(x.q, x.k, x.v); });
    at::Tensor expected = gradients([&] { return Reference(x, AttentionMask::kNone); });
    EXPECT_TRUE(at::allclose(actual, expected, 1e-4, 1e-5)) << queries;
  }
}

TEST(AttentionTest, TheCacheIsEmptiedByAnotherContext) {
  Attention attention;
  CrossAttentionCache cache;
  at::Tensor first = at::ones({1, 2, 3}), second = at::ones({1, 2, 3});
  cache.Prepare(first);
  cache[&attention].key = at::ones({1});
  cache.Prepare(first);
  EXPECT_TRUE(cache[&attention].key.defined());
  cache.Prepare(second);
  EXPECT_FALSE(cache[&attention].key.defined());
}

}  // namespace
}  // namespace rsidiff::worker
