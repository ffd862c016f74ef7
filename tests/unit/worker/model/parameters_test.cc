#include "worker/model/parameters.h"

#include <filesystem>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/model/linear.h"

namespace rsidiff::worker {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

NamedTensors LinearWeights() {
  return {{"layer.weight", at::arange(6, at::kFloat).view({2, 3})}, {"layer.bias", at::ones({2})}};
}

std::unique_ptr<ParameterLoader> Loader(NamedTensors tensors) {
  return ParameterLoader::FromTensors(std::move(tensors), "weights", ComputeOptions());
}

class ParametersFileTest : public ::testing::Test {
 protected:
  ParametersFileTest() : folder_(::testing::TempDir() + "/parameters_test") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    EXPECT_TRUE(WriteSafetensors(file(), LinearWeights(), {}).ok());
  }
  ~ParametersFileTest() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path file() const { return folder_ / "model.safetensors"; }

  std::filesystem::path folder_;
};

TEST_F(ParametersFileTest, LoadsWithoutACopyAndTrainsWithoutTouchingTheFile) {
  std::string before = ReadFile(file()).value();
  auto loader = ParameterLoader::Open(folder_, ComputeOptions()).value();
  Linear linear(loader->root().Sub("layer"), 3, 2, Bias::kYes);
  Parameters parameters = loader->Finish({}).value();
  EXPECT_FALSE(linear.weight.storage().resizable());  // The mapped file.
  for (const auto& [name, tensor] : parameters.tensors()) tensor.set_requires_grad(true);
  linear(at::ones({1, 3})).sum().backward();
  at::Tensor weight = parameters.Get("layer.weight").value();
  EXPECT_TRUE(at::equal(weight.grad(), at::ones({2, 3})));
  {
    at::NoGradGuard no_grad;
    weight.sub_(weight.grad());
  }
  EXPECT_EQ(linear.weight[0][0].item<float>(), -1);  // The layer's handle is the same tensor.
  EXPECT_EQ(ReadFile(file()).value(), before);
}

TEST_F(ParametersFileTest, AssignedValuesLeaveTheFileAlone) {
  std::string before = ReadFile(file()).value();
  auto loader = ParameterLoader::Open(file(), ComputeOptions()).value();
  Linear linear(loader->root().Sub("layer"), 3, 2, Bias::kYes);
  Parameters parameters = loader->Finish({}).value();
  ASSERT_TRUE(
      parameters.Assign({{"layer.bias", at::full({2}, 5, at::kHalf)}}, Parameters::Coverage::kSome).ok());
  EXPECT_EQ(linear.bias.sum().item<float>(), 10);
  EXPECT_EQ(ReadFile(file()).value(), before);
}

TEST_F(ParametersFileTest, ShardsMustAgreeWithTheirIndex) {
  std::filesystem::remove(file());
  NamedTensors weights = LinearWeights();
  ASSERT_TRUE(WriteSafetensors(folder_ / "a.safetensors", {weights[0]}, {}).ok());
  ASSERT_TRUE(WriteSafetensors(folder_ / "b.safetensors", {weights[1]}, {}).ok());
  auto load = [this](const std::string& map) {
    std::string index = "{\"weight_map\": " + map + "}";
    EXPECT_TRUE(WriteFileAtomically(folder_ / "model.safetensors.index.json", index).ok());
    auto loader = ParameterLoader::Open(folder_, ComputeOptions());
    if (!loader.ok()) return loader.status();
    Linear linear((*loader)->root().Sub("layer"), 3, 2, Bias::kYes);
    return (*loader)->Finish({}).status();
  };
  EXPECT_TRUE(load(R"({"layer.weight": "a.safetensors", "layer.bias": "b.safetensors"})").ok());
  EXPECT_THAT(load(R"({"layer.weight": "a.safetensors", "layer.bias": "c.safetensors"})").message(),
              HasSubstr("c.safetensors"));
  EXPECT_THAT(load(R"({"layer.weight": "a.safetensors", "layer.bias": "a.safetensors"})").message(),
              HasSubstr("layer.bias"));
  EXPECT_THAT(load(R"({"layer.weight": "../a.safetensors"})").message(), HasSubstr("layer.weight"));
  EXPECT_THAT(load("[]").message(), HasSubstr("weight_map"));
}

TEST(ParametersTest, FinishNamesEveryDisagreement) {
  NamedTensors tensors = {{"layer.weight", at::ones({3, 2})},
                          {"extra", at::ones({1})},
                          {"text_model.position_ids", at::ones({1}, at::kLong)}};
  auto loader = Loader(tensors);
  Linear linear(loader->root().Sub("layer"), 3, 2, Bias::kYes);
  EXPECT_FALSE(linear.weight.defined());
  EXPECT_THAT(
      loader->Finish({"position_ids"}).status().message(),
      AllOf(HasSubstr("weights: "), HasSubstr("layer.weight"), HasSubstr("[3, 2]"), HasSubstr("[2, 3]"),
            HasSubstr("missing tensor layer.bias"), HasSubstr("surplus tensor extra")));
  loader = Loader({{"text_model.position_ids", at::ones({1}, at::kLong)}});
  EXPECT_TRUE(loader->Finish({"position_ids"}).ok());
}

TEST(ParametersTest, OldNamesAreExportedUnderTheNewOnes) {
  auto loader = Loader({{"query.weight", at::ones({2})}});
  EXPECT_TRUE(loader->root().Take("to_q.weight", {2}, "query.weight").defined());
  EXPECT_TRUE(loader->Finish({}).value().Has("to_q.weight"));
}

TEST(ParametersTest, AssignChangesAllOrNothing) {
  auto loader = Loader(LinearWeights());
  Linear linear(loader->root().Sub("layer"), 3, 2, Bias::kYes);
  Parameters parameters = loader->Finish({}).value();
  EXPECT_THAT(parameters.tensors(), ElementsAre(testing::Key("layer.bias"), testing::Key("layer.weight")));
  at::Tensor zeros = at::zeros({2, 3});
  auto assign = [&](const NamedTensors& values, Parameters::Coverage coverage) {
    return parameters.Assign(values, coverage);
  };
  EXPECT_THAT(assign({{"layer.weight", zeros}}, Parameters::Coverage::kAll).message(),
              HasSubstr("layer.bias"));
  EXPECT_THAT(assign({{"layer.weight", zeros}, {"x", zeros}}, Parameters::Coverage::kSome).message(),
              HasSubstr("no parameter x"));
  EXPECT_THAT(assign({{"layer.weight", zeros}, {"layer.bias", zeros}}, Parameters::Coverage::kAll).message(),
              AllOf(HasSubstr("layer.bias"), HasSubstr("[2, 3]")));
  EXPECT_EQ(linear.weight.sum().item<float>(), 15);
  EXPECT_TRUE(assign({{"layer.weight", zeros}}, Parameters::Coverage::kSome).ok());
  EXPECT_EQ(linear.weight.sum().item<float>(), 0);
}

TEST(LinearTest, AddsItsLoraPair) {
  auto loader = Loader(LinearWeights());
  Linear linear(loader->root().Sub("layer"), 3, 2, Bias::kYes);
  EXPECT_EQ(linear.path, "layer");
  at::manual_seed(1);
  at::Tensor x = at::randn({4, 3}), down = at::randn({1, 3}), up = at::randn({2, 1});
  at::Tensor plain = linear(x);
  linear.lora_down = down;
  linear.lora_up = up;
  linear.lora_scale = 0.5;
  EXPECT_TRUE(at::allclose(linear(x), plain + 0.5 * at::matmul(x, at::matmul(up, down).t())));
}

}  // namespace
}  // namespace rsidiff::worker
