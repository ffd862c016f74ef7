#include "worker/model/feature_map.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include "gtest/gtest.h"

namespace rsidiff::worker {
namespace {

at::Tensor ChannelsLast(at::IntArrayRef sizes) {
  return at::randn(sizes).contiguous(at::MemoryFormat::ChannelsLast);
}

TEST(FeatureMapTest, GroupNormIsTorchs) {
  at::NoGradGuard no_grad;
  at::manual_seed(5);
  struct Case {
    std::vector<int64_t> sizes;
    int64_t groups;
  };
  // Fewer pixels than one strip, a whole number of strips, and a part of one at the end.
  for (const Case& test :
       {Case{{3, 8, 3, 5}, 4}, Case{{2, 32, 16, 16}, 32}, Case{{1, 6, 33, 29}, 1}, Case{{2, 96, 2, 1}, 32}}) {
    const at::Tensor x = ChannelsLast(test.sizes) * 3 + 20;
    const at::Tensor weight = at::randn({test.sizes[1]}), bias = at::randn({test.sizes[1]});
    const at::Tensor expected = at::group_norm(x.to(at::kDouble).contiguous(), test.groups,
                                               weight.to(at::kDouble), bias.to(at::kDouble), 1e-5);
    const at::Tensor result = GroupNormOfChannelsLast(x, test.groups, weight, bias, 1e-5);
    EXPECT_TRUE(result.is_contiguous(at::MemoryFormat::ChannelsLast));
    EXPECT_TRUE(at::allclose(result.to(at::kDouble), expected, 1e-4, 1e-5)) << x.sizes();
  }
}

TEST(FeatureMapTest, GroupNormSeesWhatIsSmallBesideTheMean) {
  at::NoGradGuard no_grad;
  const at::Tensor x = ChannelsLast({1, 4, 16, 16}) + 1000;
  const at::Tensor one = at::ones({4});
  const at::Tensor expected =
      at::group_norm(x.to(at::kDouble).contiguous(), 2, one.to(at::kDouble), one.to(at::kDouble), 1e-5);
  const at::Tensor result = GroupNormOfChannelsLast(x, 2, one, one, 1e-5);
  // Within what a last bit of x is worth.
  EXPECT_LT((result.to(at::kDouble) - expected).abs().max().item<double>(), 1e-3);
}

TEST(FeatureMapTest, GroupNormHasTheSameBitsWithAnyNumberOfThreads) {
  at::NoGradGuard no_grad;
  const at::Tensor x = ChannelsLast({2, 16, 40, 40});
  const at::Tensor weight = at::randn({16}), bias = at::randn({16});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = GroupNormOfChannelsLast(x, 4, weight, bias, 1e-5);
  at::set_num_threads(2);
  const at::Tensor two = GroupNormOfChannelsLast(x, 4, weight, bias, 1e-5);
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(one, two));
}

TEST(FeatureMapTest, OnlyInferenceInSinglePrecisionOnTheCpuChangesTheLayout) {
  const at::Tensor x = at::randn({2, 3, 4, 5});
  EXPECT_TRUE(InInferenceLayout(x).is_same(x));
  at::NoGradGuard no_grad;
  EXPECT_TRUE(IsInInferenceLayout(InInferenceLayout(x)));
  EXPECT_FALSE(IsInInferenceLayout(x));
  const at::Tensor half = x.to(at::kBFloat16);
  EXPECT_TRUE(InInferenceLayout(half).is_same(half));
}

TEST(FeatureMapTest, TokensAreThePixelsInRowsInEitherLayout) {
  const at::Tensor x = at::randn({2, 3, 4, 5});
  const at::Tensor expected = x.flatten(2).transpose(1, 2);
  for (const at::Tensor& map : {x, x.contiguous(at::MemoryFormat::ChannelsLast)}) {
    const at::Tensor tokens = ToTokens(map);
    EXPECT_TRUE(tokens.is_contiguous());
    EXPECT_TRUE(at::equal(tokens, expected));
    const at::Tensor back = ToFeatureMap(tokens, map);
    EXPECT_TRUE(at::equal(back, x));
    EXPECT_EQ(back.suggest_memory_format(), map.suggest_memory_format());
  }
}

}  // namespace
}  // namespace rsidiff::worker
