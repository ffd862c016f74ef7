#include "coordinator/cli/model_flops.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/file.h"

namespace rsidiff::coordinator {
namespace {

using ::testing::HasSubstr;

namespace fs = std::filesystem;

class ModelFlopsTest : public ::testing::Test {
 protected:
  ModelFlopsTest() { fs::remove_all(folder_); }
  ~ModelFlopsTest() override { fs::remove_all(folder_); }

  void Write(const std::string& file, const std::string& text) {
    EXPECT_TRUE(CreateFolders((folder_ / file).parent_path()).ok());
    EXPECT_TRUE(WriteFileAtomically(folder_ / file, text).ok());
  }
  void WriteStableDiffusion14() {
    Write("unet/config.json", R"({"cross_attention_dim": 768})");  // the rest are diffusers' defaults
    Write("vae/config.json", R"({"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2})");
    Write("text_encoder/config.json",
          R"({"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12})");
  }
  std::string Error() { return std::string(CountPipelineFlops(folder_, {512, 512}).status().message()); }

  const fs::path folder_ = fs::path(::testing::TempDir()) / "model_flops_test";
};

// Known numbers: SD 1.4's UNet takes 401.6 G multiply-adds at 64 x 64, 77 tokens.
TEST_F(ModelFlopsTest, StableDiffusionsWorkIsKnown) {
  WriteStableDiffusion14();
  const auto large = CountPipelineFlops(folder_, {512, 512});
  ASSERT_TRUE(large.ok()) << large.status();
  EXPECT_NEAR(large->unet * 1e-12, 0.803, 0.0006);
  EXPECT_NEAR(large->vae_decode * 1e-12, 2.515, 0.0006);
  EXPECT_NEAR(large->vae_encode * 1e-12, 1.117, 0.0006);
  EXPECT_NEAR(large->text * 1e-12, 0.013, 0.0006);
  const auto small = CountPipelineFlops(folder_, {256, 256});
  ASSERT_TRUE(small.ok()) << small.status();
  EXPECT_NEAR(small->unet * 1e-12, 0.180, 0.0006);
  EXPECT_NEAR(small->vae_decode * 1e-12, 0.622, 0.0006);
}

TEST_F(ModelFlopsTest, TowersOfClipAreKnown) {
  Write("config.json",
        R"({"text_config": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24},
            "vision_config": {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
                              "patch_size": 14}})");
  const auto flops = CountClipFlops(folder_);
  ASSERT_TRUE(flops.ok()) << flops.status();
  EXPECT_NEAR(flops->image * 1e-12, 0.335, 0.0006);
  EXPECT_NEAR(flops->text * 1e-12, 0.047, 0.0006);
}

TEST_F(ModelFlopsTest, WhatIsNoClipModelIsNotFound) {
  EXPECT_EQ(CountClipFlops(folder_).status().code(), absl::StatusCode::kNotFound);
  Write("config.json", R"({"architectures": ["ImageReward"]})");
  EXPECT_EQ(CountClipFlops(folder_).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ModelFlopsTest, ConfigurationsThatMakeNoSenseAreRefusedByFileAndKey) {
  WriteStableDiffusion14();
  Write("unet/config.json", R"({"layers_per_block": -1})");
  EXPECT_THAT(Error(), HasSubstr("layers_per_block makes no sense: "));
  EXPECT_THAT(Error(), HasSubstr("unet/config.json"));
  Write("unet/config.json", R"({"block_out_channels": [64, 99999999999]})");
  EXPECT_THAT(Error(), HasSubstr("block_out_channels makes no sense: "));
  Write("unet/config.json", R"({"block_out_channels": [64, 128]})");
  EXPECT_THAT(Error(), HasSubstr("differ in length: "));
  Write("unet/config.json", R"({"down_block_types": 3})");
  EXPECT_THAT(Error(), HasSubstr("unet/config.json"));
  Write("unet/config.json", R"([])");
  EXPECT_THAT(Error(), HasSubstr("not a JSON object: "));
}

}  // namespace
}  // namespace rsidiff::coordinator
