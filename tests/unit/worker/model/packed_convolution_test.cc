#include "worker/model/packed_convolution.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "gtest/gtest.h"

namespace rsidiff::worker {
namespace {

at::Tensor RandomChannelsLast(at::IntArrayRef sizes) {
  return at::randn(sizes).contiguous(at::MemoryFormat::ChannelsLast);
}

void ExpectConvolution(PackedConvolution& packed, const at::Tensor& x, const at::Tensor& weight,
                       const at::Tensor& bias, PackedConvolution::Stride stride) {
  ASSERT_TRUE(PackedConvolution::Serves(x, weight));
  const at::Tensor expected =
      at::conv2d(x.to(at::kDouble), weight.to(at::kDouble), bias.defined() ? bias.to(at::kDouble) : bias,
                 {stride.stride, stride.stride}, {stride.padding, stride.padding});
  const at::Tensor result = packed(x, weight, bias, stride);
  EXPECT_TRUE(at::allclose(result.to(at::kDouble), expected, 1e-4, 1e-4)) << x.sizes() << weight.sizes();
  EXPECT_TRUE(result.is_contiguous(at::MemoryFormat::ChannelsLast));
}

TEST(PackedConvolutionTest, IsTorchsConvolution) {
  at::NoGradGuard no_grad;
  at::manual_seed(7);
  for (int64_t kernel : {1, 3}) {
    for (int64_t stride : {1, 2}) {
      for (const at::Tensor& bias : {at::Tensor(), at::randn({24})}) {
        PackedConvolution packed;
        const at::Tensor weight = at::randn({24, 10, kernel, kernel});
        ExpectConvolution(packed, RandomChannelsLast({3, 10, 7, 9}), weight, bias, {stride, kernel / 2});
      }
    }
  }
}

TEST(PackedConvolutionTest, NoticesNewWeightsAndOtherSizes) {
  at::NoGradGuard no_grad;
  PackedConvolution packed;
  const at::Tensor weight = at::randn({8, 4, 3, 3}), bias = at::randn({8});
  const at::Tensor x = RandomChannelsLast({2, 4, 6, 6});
  ExpectConvolution(packed, x, weight, bias, {1, 1});
  weight.copy_(at::randn({8, 4, 3, 3}));
  ExpectConvolution(packed, x, weight, bias, {1, 1});
  weight.mul_(0.5);
  ExpectConvolution(packed, x, weight, bias, {1, 1});
  ExpectConvolution(packed, RandomChannelsLast({5, 4, 3, 9}), weight, bias, {1, 1});
}

TEST(PackedConvolutionTest, LeavesGradientsOtherTypesLayoutsAndLargeMapsToTorch) {
  const at::Tensor weight = at::randn({8, 4, 3, 3}), x = RandomChannelsLast({2, 4, 6, 6});
  EXPECT_FALSE(PackedConvolution::Serves(x, weight));
  at::NoGradGuard no_grad;
  EXPECT_TRUE(PackedConvolution::Serves(x, weight));
  EXPECT_FALSE(PackedConvolution::Serves(x.to(at::kBFloat16), weight.to(at::kBFloat16)));
  EXPECT_FALSE(PackedConvolution::Serves(RandomChannelsLast({2, 4, 64, 64}), weight));
  EXPECT_FALSE(PackedConvolution::Serves(x.contiguous(), weight));
}

}  // namespace
}  // namespace rsidiff::worker
