// What is counted before a run is submitted: the plan of `run submit --dry-run`, and the submission's size.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "coordinator/cli/submission_size.h"
#include "tests/unit/cli/command_line.h"

namespace rsidiff::coordinator {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr size_t kUnetFileBytes = 1000;

// A copy of the run file where the model folders that it names have every file, blank but for what a plan
// reads.
std::string WithModels(const std::string& name) {
  const std::filesystem::path source = RSIDIFF_SOURCE_DIR;
  const std::filesystem::path root = testing::TempDir() + "/sd14";
  const std::filesystem::path models = root / "deploy/examples/models";
  std::map<std::string, std::string> files = {
      {"unet/config.json", R"({"sample_size": 64, "cross_attention_dim": 768})"},
      {"vae/config.json", R"({"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2})"},
      {"text_encoder/config.json",
       R"({"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12})"},
      {"scheduler/scheduler_config.json", R"({"_class_name": "PNDMScheduler", "skip_prk_steps": true})"},
      {"unet/diffusion_pytorch_model.safetensors", std::string(kUnetFileBytes, ' ')}};
  for (const char* file :
       {"model_index.json", "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors",
        "tokenizer/vocab.json", "tokenizer/merges.txt"}) {
    files[file] = " ";
  }
  // ViT-H/14 and ViT-L/14 as transformers describes them; the others' work is not counted.
  const std::map<std::string, std::string> scorers = {
      {"hps-v2.1",
       R"({"text_config": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24},
           "vision_config": {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
                             "patch_size": 14}})"},
      {"clip-vit-large-patch14",
       R"({"text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12},
           "vision_config": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
                             "patch_size": 14}})"},
      {"aesthetic-v2", ""},
      {"pickscore", ""},
      {"image-reward", ""}};
  for (const auto& [file, text] : files) {
    const std::filesystem::path path = models / "stable-diffusion-v1-4" / file;
    EXPECT_TRUE(CreateFolders(path.parent_path()).ok());
    EXPECT_TRUE(WriteFileAtomically(path, text).ok());
  }
  for (const auto& [scorer, config] : scorers) {
    EXPECT_TRUE(CreateFolders(models / scorer).ok());
    EXPECT_TRUE(WriteFileAtomically(models / scorer / "config.json", config).ok());
    for (const char* file :
         {"model.safetensors", "preprocessor_config.json", "vocab.json", "merges.txt", "vocab.txt"}) {
      EXPECT_TRUE(WriteFileAtomically(models / scorer / file, " ").ok());
    }
  }
  const std::filesystem::path prompts = "deploy/examples/prompts";
  std::filesystem::remove(root / prompts);
  std::filesystem::create_directory_symlink(source / prompts, root / prompts);
  const std::filesystem::path copy = root / "deploy/examples" / name;
  EXPECT_TRUE(WriteFileAtomically(copy, *ReadFile(source / "deploy/examples" / name)).ok());
  return copy;
}

TEST(DryRun, ExampleRunFilesOfStableDiffusionArePlanned) {
  CommandLine line;
  struct Expected {
    std::string file;
    uint64_t prompts;
    uint64_t samples;
    uint64_t kept;
    uint64_t evaluated;
    uint64_t drawn_in_all;
    uint64_t unet_passes;
  };
  // PartiPrompts less the three that the filter rejects; all of HPD. PNDM calls the UNet 51 times in 50
  // steps, each with and without the prompt.
  const Expected examples[] = {{"sd14-parti", 1629, 1629 * 8, 1629, 400, 107'856, 11'001'312},
                               {"sd14-hpd", 400, 400 * 16, 800, 400, 54'800, 5'589'600}};
  for (const Expected& expected : examples) {
    const std::string file = WithModels(expected.file + ".yaml");
    const CommandOutcome outcome = line.Run({"run", "submit", file, "--dry-run", "--json"});
    ASSERT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
    const nlohmann::json plan = nlohmann::json::parse(outcome.out)["plan"];
    EXPECT_EQ(plan["width"], 512);
    EXPECT_EQ(plan["rounds"], 8);
    EXPECT_EQ(plan["prompts_per_round"], expected.prompts);
    EXPECT_EQ(plan["samples_per_round"], expected.samples);
    EXPECT_EQ(plan["kept_per_round"], expected.kept);
    EXPECT_EQ(plan["evaluation_samples"], expected.evaluated);
    const double drawn = static_cast<double>(8 * expected.samples);
    const double evaluated = static_cast<double>(9 * expected.evaluated);
    EXPECT_EQ(drawn + evaluated, static_cast<double>(expected.drawn_in_all));
    EXPECT_EQ(plan["unet_calls"], expected.unet_passes);
    // 8 bit a channel; 4 channels of fp32 in an eighth of the width and height; and in each round the trained
    // UNet, and a state of it, its average and AdamW's two moments in the middle.
    EXPECT_EQ(plan["picture_bytes"], expected.drawn_in_all * 786'432);
    EXPECT_EQ(plan["latent_bytes"], expected.drawn_in_all * 65'536);
    EXPECT_EQ(plan["checkpoint_bytes"], 8 * kUnetFileBytes);
    EXPECT_EQ(plan["training_state_bytes"], 8 * 4 * kUnetFileBytes);
    // The known work of one pass, in FLOP: UNet 0.803e12, VAE decoder 2.515e12, text encoder 0.013e12;
    // ViT-H/14 0.335e12 and 0.047e12, ViT-L/14 0.162e12 and 0.013e12.
    const double sampling = (drawn + evaluated) * (102 * 0.803e12 + 0.013e12);
    const double decoding = (drawn + evaluated) * 2.515e12;
    const double scoring = (drawn + evaluated) * (0.335e12 + 0.047e12 + 0.162e12 + 0.013e12);
    const double training = 8 * 200 * 64 * (3 * 0.803e12 + 0.013e12);
    EXPECT_NEAR(plan["sampling_flops"].get<double>() / sampling, 1, 0.002);
    EXPECT_NEAR(plan["decoding_flops"].get<double>() / decoding, 1, 0.002);
    EXPECT_NEAR(plan["scoring_flops"].get<double>() / scoring, 1, 0.02);
    EXPECT_NEAR(plan["training_flops"].get<double>() / training, 1, 0.002);
    EXPECT_EQ(plan["scorers_not_counted"], nlohmann::json({"pickscore", "imagereward"}));
    // Sampling in fp16 decodes in fp32.
    const double seconds = ((sampling + training) / 989e12 + (decoding + scoring) / 67e12) / 0.3;
    EXPECT_NEAR(plan["gpu_hours"].get<double>() / (seconds / 3600), 1, 0.01);
  }
}

TEST(DryRun, WithoutGuidanceEachCallIsOnePass) {
  CommandLine line;
  const std::string file = WithModels("sd14-parti.yaml");
  for (const std::string scale : {"0.5", "1"}) {
    const CommandOutcome outcome =
        line.Run({"run", "submit", file, "--dry-run", "--json", "--set", "sampling.guidance_scale=" + scale});
    ASSERT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
    EXPECT_EQ(nlohmann::json::parse(outcome.out)["plan"]["unet_calls"], 11'001'312 / 2);
  }
}

TEST(DryRun, AnAdaptersCheckpointsGrowWithItsRank) {
  CommandLine line;
  const std::string file = WithModels("sd14-parti.yaml");
  // A hundredth of the UNet for a rank of 32, in each of 8 rounds.
  for (const auto& [rank, bytes] : std::map<std::string, uint64_t>{{"32", 8 * 10}, {"256", 8 * 80}}) {
    const CommandOutcome outcome = line.Run({"run", "submit", file, "--dry-run", "--json", "--set",
                                             "train.method=lora", "--set", "train.lora.rank=" + rank});
    ASSERT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
    EXPECT_EQ(nlohmann::json::parse(outcome.out)["plan"]["checkpoint_bytes"], bytes) << rank;
  }
}

TEST(DryRun, MoreNeighboursThanSamplesAreRefused) {
  CommandLine line;
  const std::string file = RSIDIFF_SOURCE_DIR "/deploy/examples/shapes.yaml";
  const auto submit = [&](const std::string& neighbours) {
    return line.Run({"run", "submit", file, "--dry-run", "--set", "weights.method=knn", "--set",
                     "prompts.per_round=2", "--set", "weights.neighbours=" + neighbours});
  };
  EXPECT_EQ(submit("7").code, ExitCode::kOk);
  const CommandOutcome refused = submit("8");
  EXPECT_EQ(refused.code, ExitCode::kUsage);
  EXPECT_THAT(refused.err,
              HasSubstr("weights.neighbours is 8, and round 1 has only 8 samples: more samples are "
                        "needed than neighbours"));
}

TEST(SubmissionSize, CountsWhatPromptsTakeBesidesTheirText) {
  v1::SubmitRunRequest request;
  for (int i = 0; i < 1000; ++i) request.mutable_inputs()->add_train_prompts("ten bytes.");
  // 10,000 bytes of text, and a tag and a length each.
  ASSERT_GE(request.ByteSizeLong(), 12'000);
  const absl::Status refused = CheckSubmissionSize(request, 12'000);
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr("its 1000 prompts take "), HasSubstr("at most 12000 in one submission")));
  EXPECT_TRUE(CheckSubmissionSize(request, 16'000).ok());
}

TEST(SubmissionSize, LeavesRoomForTheDigestsOfEveryScorer) {
  const std::string digest(64, 'd');
  v1::SubmitRunRequest request;
  for (int i = 0; i < 20; ++i) {
    request.mutable_spec()->add_scorers()->set_name(absl::StrCat(std::string(60, 's'), i));
  }
  size_t limit = request.ByteSizeLong();
  while (!CheckSubmissionSize(request, limit).ok()) ++limit;
  for (const v1::ScorerSpec& scorer : request.spec().scorers()) {
    v1::ScorerInputs& inputs = (*request.mutable_inputs()->mutable_scorers())[scorer.name()];
    inputs.set_model(digest);
    inputs.set_tokenizer(digest);
    inputs.set_clip(digest);
  }
  request.mutable_inputs()->set_model(digest);
  request.mutable_inputs()->set_rejected_prompts(digest);
  EXPECT_LE(request.ByteSizeLong(), limit);
}

}  // namespace
}  // namespace rsidiff::coordinator
