#include "worker/model/unet_2d_condition_model.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace rsidiff::worker {
namespace {

constexpr char kFolder[] = RSIDIFF_SOURCE_DIR "/deploy/examples/shapes/base/unet";

struct Inputs {
  at::Tensor sample, timesteps, context;
};

Inputs RandomInputs() {
  at::manual_seed(4);
  return {at::randn({2, 4, 8, 8}), at::tensor({500, 20}, at::kLong), at::randn({2, 77, 128})};
}

TEST(UNet2DConditionModelTest, LinearsArePathsOfTheWeights) {
  auto unet = UNet2DConditionModel::Load(kFolder, ComputeOptions()).value();
  std::map<std::string, Linear*> linears = unet->linears();
  EXPECT_EQ(linears.count("mid_block.attentions.0.transformer_blocks.0.attn1.to_q"), 1u);
  EXPECT_EQ(linears.count("mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0"), 1u);
  EXPECT_EQ(linears.count("up_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj"), 1u);
  size_t matrices = 0;
  for (const auto& [name, tensor] : unet->parameters().tensors()) {
    if (tensor.dim() == 2) ++matrices;
  }
  EXPECT_EQ(linears.size(), matrices);
  for (const auto& [path, linear] : linears) {
    EXPECT_TRUE(unet->parameters().Get(path + ".weight").value().is_same(linear->weight)) << path;
  }
}

TEST(UNet2DConditionModelTest, ALoraPairOnAnyLayerChangesTheResultAndGetsGradients) {
  auto unet = UNet2DConditionModel::Load(kFolder, ComputeOptions()).value();
  Inputs x = RandomInputs();
  at::Tensor before = unet->Forward(x.sample, x.timesteps, x.context);
  EXPECT_FALSE(before.requires_grad());
  Linear* linear = unet->linears().at("mid_block.attentions.0.transformer_blocks.0.attn2.to_v");
  linear->lora_down = at::randn({4, linear->in_features()}).set_requires_grad(true);
  linear->lora_up = at::zeros({linear->out_features(), 4}).set_requires_grad(true);
  at::Tensor after = unet->Forward(x.sample, x.timesteps, x.context);
  EXPECT_TRUE(at::allclose(after, before, 1e-4, 1e-4));
  after.square().sum().backward();
  EXPECT_GT(linear->lora_up.grad().abs().max().item<float>(), 0);
  EXPECT_FALSE(linear->weight.grad().defined());
}

TEST(UNet2DConditionModelTest, InferenceAndTrainingModesAgree) {
  auto unet = UNet2DConditionModel::Load(kFolder, ComputeOptions()).value();
  Inputs x = RandomInputs();
  at::Tensor sample = x.sample.clone();
  at::Tensor inference;
  {
    at::NoGradGuard no_grad;
    inference = unet->Forward(x.sample, x.timesteps, x.context);
  }
  EXPECT_TRUE(at::equal(x.sample, sample));  // Nothing of the caller's is overwritten.
  for (const auto& [name, tensor] : unet->parameters().tensors()) tensor.set_requires_grad(true);
  at::Tensor training = unet->Forward(x.sample, x.timesteps, x.context);
  EXPECT_TRUE(training.requires_grad());
  EXPECT_TRUE(at::allclose(training, inference, 1e-4, 1e-4));
}

TEST(UNet2DConditionModelTest, OneTimestepServesAllRows) {
  auto unet = UNet2DConditionModel::Load(kFolder, ComputeOptions()).value();
  Inputs x = RandomInputs();
  at::NoGradGuard no_grad;
  at::Tensor one = unet->Forward(x.sample, at::tensor({7.0f}), x.context);
  at::Tensor each = unet->Forward(x.sample, at::tensor({7, 7}, at::kLong), x.context);
  EXPECT_TRUE(at::allclose(one, each, 1e-5, 1e-5));  // A product of one row may round otherwise.
}

TEST(UNet2DConditionModelTest, AMissingFolderIsNamed) {
  EXPECT_THAT(UNet2DConditionModel::Load("/no/such/unet", ComputeOptions()).status().message(),
              testing::HasSubstr("/no/such/unet/config.json"));
}

}  // namespace
}  // namespace rsidiff::worker
