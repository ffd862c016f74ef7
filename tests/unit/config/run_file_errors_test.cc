// What each mistake in a run file is told as.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/config/run_file.h"

namespace rsidiff {
namespace {

namespace fs = std::filesystem;

constexpr char kGood[] = R"(name: shapes
rounds: 2
model: {path: base}
prompts:
  train: [train.txt]
  evaluation: [eval.txt]
sampling:
  samples_per_prompt: 4
scorers:
  - name: clip
    type: clipscore
    path: clip
  - name: heldout
    type: clipscore
    path: other
    role: held_out
train:
  steps: 10
)";

struct Mistake {
  std::string name;
  std::string from;  // text of kGood
  std::string to;
  std::string errors;
};

void PrintTo(const Mistake& mistake, std::ostream* out) {
  *out << mistake.name;
}

std::string ErrorsOf(const std::string& text) {
  const absl::StatusOr<RunFile> file = ParseRunFile(text, "run.yaml");
  if (file.ok()) return "no error";
  EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(file.status().message());
}

class RunFileErrors : public testing::TestWithParam<Mistake> {};

TEST_P(RunFileErrors, AreToldWithTheirPlace) {
  const std::string text = absl::StrReplaceAll(kGood, {{GetParam().from, GetParam().to}});
  ASSERT_NE(text, kGood);
  EXPECT_EQ(ErrorsOf(text), GetParam().errors);
}

const Mistake kMistakes[] = {
    {"NearKey", "samples_per_prompt: 4", "sample_per_prompt: 4",
     "run.yaml:8:3: unknown key \"sample_per_prompt\" in sampling; did you mean \"samples_per_prompt\"?"},
    {"HyphenKey", "samples_per_prompt", "samples-per-prompt",
     "run.yaml:8:3: unknown key \"samples-per-prompt\" in sampling; did you mean \"samples_per_prompt\"?"},
    {"FarKey", "  steps: 10", "  nonsense: 10",
     "run.yaml:18:3: unknown key \"nonsense\" in train; valid keys: method, steps, global_batch, "
     "micro_batch, "
     "learning_rate, schedule, warmup_steps, beta1, beta2, epsilon, weight_decay, max_grad_norm, ema_decay, "
     "caption_dropout, lora, latents, replay, precision, checkpoint_every, "
     "operation_timeout"},
    {"RootKey", "train:\n  steps", "trian:\n  steps",
     "run.yaml:17:1: unknown key \"trian\"; did you mean \"train\"?"},
    {"KeyInAListItem", "    role: held_out", "    rolle: held_out",
     "run.yaml:16:5: unknown key \"rolle\" in scorers[1]; did you mean \"role\"?"},
    {"NotANumber", "steps: 10", "steps: many",
     "run.yaml:18:10: train.steps has to be a whole number, not \"many\""},
    {"QuotedNumber", "steps: 10", "steps: \"10\"",
     "run.yaml:18:10: train.steps has to be a whole number, not \"10\""},
    {"Fraction", "steps: 10", "steps: 1.5",
     "run.yaml:18:10: train.steps has to be a whole number, not \"1.5\""},
    {"Negative", "steps: 10", "steps: -1",
     "run.yaml:18:10: train.steps has to be from 0 to 4294967295, not -1"},
    {"TooLargeForTheField", "steps: 10", "steps: 5000000000",
     "run.yaml:18:10: train.steps has to be from 0 to 4294967295, not 5000000000"},
    {"OutOfRange", "steps: 10", "steps: 0",
     "run.yaml:18:10: train.steps has to be at least 1 and at most 10000000, not 0"},
    {"OpenRange", "steps: 10", "replay: 1",
     "run.yaml:18:11: train.replay has to be at least 0 and below 1, not 1"},
    {"ZeroInSinglePrecision", "steps: 10", "epsilon: 1e-60",
     "run.yaml:18:12: train.epsilon has to be at least 1e-37 and at most 1, not 1e-60"},
    {"NotFinite", "steps: 10", "learning_rate: .nan",
     "run.yaml:18:18: train.learning_rate has to be a number, not \".nan\""},
    {"NoValue", "steps: 10", "steps:", "run.yaml:18:3: train.steps has no value"},
    {"ListForANumber", "steps: 10", "steps: [10]",
     "run.yaml:18:10: train.steps has to be a whole number, not a list"},
    {"TextForASection", "train:\n  steps: 10", "train: fast",
     "run.yaml:17:8: train has to be a section of `key: value` lines, not \"fast\""},
    {"TextForAList", "scorers:\n", "scorers: clip\nstop:\n",
     "run.yaml:9:10: scorers has to be a list, not \"clip\"\n"
     "run.yaml:11:3: stop has to be a section of `key: value` lines, not a list"},
    {"SectionForAText", "name: shapes", "name: {a: b}", "run.yaml:1:7: name has to be a text, not a section"},
    {"UnknownEnumValue", "role: held_out", "role: heldout",
     "run.yaml:16:11: scorers[1].role cannot be \"heldout\"; did you mean \"held_out\"?"},
    {"FarEnumValue", "    role: held_out", "    type: inception",
     "run.yaml:16:5: key \"type\" is given twice, first in line 14"},
    {"FarEnumValueWithList", "steps: 10", "latents: cached",
     "run.yaml:18:12: train.latents cannot be \"cached\"; valid values: generated, encoded"},
    {"DuplicateKey", "rounds: 2", "rounds: 2\nrounds: 3",
     "run.yaml:3:1: key \"rounds\" is given twice, first in line 2"},
    {"DuplicateScorer", "name: heldout", "name: clip",
     "run.yaml:13:11: scorers[1].name \"clip\" is the name of scorers[0] already"},
    {"BadName", "name: shapes", "name: My Run",
     "run.yaml:1:7: name has to be 1 to 63 lower-case letters, digits and hyphens, the first one no hyphen, "
     "not "
     "\"My Run\""},
    {"NumericName", "name: shapes", "name: 12",
     "run.yaml:1:7: name must not be a number, which would read as a run's id"},
    {"MissingName", "name: shapes\n", "", "run.yaml:1:1: name is missing"},
    {"EmptyModel", "model: {path: base}", "model: {path: \"\"}",
     "run.yaml:3:15: model.path must not be empty"},
    {"MissingModel", "model: {path: base}\n", "", "run.yaml:1:1: model.path is missing"},
    {"MissingScorerType", "    type: clipscore\n    path: clip\n", "    path: clip\n",
     "run.yaml:10:5: scorers[0].type is missing"},
    {"KeepMoreThanDrawn", "train:\n", "selection: {keep: 5}\ntrain:\n",
     "run.yaml:17:19: selection.keep is 5, more than sampling.samples_per_prompt, 4"},
    {"UnknownFeatures", "train:\n", "weights: {features: clop}\ntrain:\n",
     "run.yaml:17:21: weights.features names \"clop\", which is no selection scorer with an image embedding; "
     "did "
     "you mean \"clip\"?"},
    {"HeldOutFeatures", "train:\n", "weights: {features: heldout}\ntrain:\n",
     "run.yaml:17:21: weights.features names \"heldout\", which is no selection scorer with an image "
     "embedding; "
     "valid names: clip"},
    {"FeaturesOfAReward", "train:\n",
     "  - name: reward\n    type: blip-reward\n    path: reward\nweights: {features: reward}\ntrain:\n",
     "run.yaml:20:21: weights.features names \"reward\", which is no selection scorer with an image "
     "embedding; "
     "valid names: clip"},
    {"NothingToSelectBy", "type: clipscore\n    path: clip",
     "type: clipscore\n    path: clip\n    role: held_out",
     "run.yaml:1:1: weights.features needs a selection scorer of a clipscore, clip-logit, hps or pickscore "
     "type, and "
     "there "
     "is "
     "none\nrun.yaml:10:3: scorers has no scorer of role selection with a weight, so there is nothing to "
     "select by"},
    {"MicroBatch", "steps: 10", "micro_batch: 65",
     "run.yaml:18:16: train.micro_batch is 65, more than train.global_batch, 64"},
    {"Warmup", "steps: 10", "steps: 10\n  warmup_steps: 11",
     "run.yaml:19:17: train.warmup_steps is 11, more than train.steps, 10"},
    {"LoraWithFull", "steps: 10", "lora: {rank: 2}",
     "run.yaml:18:3: train.lora is given, but train.method is full"},
    {"Fp16Training", "steps: 10", "precision: fp16",
     "run.yaml:18:14: train.precision has to be fp32 or bf16: gradients underflow in fp16"},
    {"WeightBounds", "train:\n", "weights: {min: 2, max: 0.5}\ntrain:\n",
     "run.yaml:17:16: weights.min has to be at least 0 and at most 1, not 2\n"
     "run.yaml:17:24: weights.max has to be at least 1 and at most 1000000, not 0.5"},
    {"OddSize", "samples_per_prompt: 4", "width: 100",
     "run.yaml:7:1: sampling.height is missing: width and height go together\n"
     "run.yaml:8:10: sampling.width has to be a multiple of 8 of at most 4096 pixels, or 0, not 100"},
    {"TrainMax", "train:\n", "workers: {train_min: 3, train_max: 2}\ntrain:\n",
     "run.yaml:17:36: workers.train_max is 2, less than workers.train_min, 3"},
    {"AestheticWithoutClip", "type: clipscore\n    path: other", "type: aesthetic\n    path: other",
     "run.yaml:13:5: scorers[1].clip is missing"},
    {"Tab", "  steps: 10", "\tsteps: 10", "run.yaml:18:7: YAML syntax: illegal map value"},
    {"OpenBracket", "train: [train.txt]", "train: [train.txt",
     "run.yaml:6:13: YAML syntax: end of sequence flow not found"},
};

INSTANTIATE_TEST_SUITE_P(All, RunFileErrors, testing::ValuesIn(kMistakes),
                         [](const testing::TestParamInfo<Mistake>& info) { return info.param.name; });

TEST(RunFileErrors, TheUnchangedFileHasNone) {
  EXPECT_EQ(ErrorsOf(kGood), "no error");
}

TEST(RunFileErrors, AreAllToldAtOnceInFileOrder) {
  EXPECT_EQ(ErrorsOf("nmae: x\nrounds: -1\nsampling: {stps: 3, guidance_scale: high}\nscorers: []\n"),
            "run.yaml:1:1: name is missing\n"
            "run.yaml:1:1: model.path is missing\n"
            "run.yaml:1:1: prompts.evaluation is missing\n"
            "run.yaml:1:1: unknown key \"nmae\"; did you mean \"name\"?\n"
            "run.yaml:2:9: rounds has to be from 0 to 4294967295, not -1\n"
            "run.yaml:3:12: unknown key \"stps\" in sampling; did you mean \"steps\"?\n"
            "run.yaml:3:37: sampling.guidance_scale has to be a number, not \"high\"\n"
            "run.yaml:4:10: scorers must not be empty");
}

// An empty folder with these files, of which each has something in it.
fs::path FolderOf(const std::string& name, const std::vector<std::string>& files) {
  const fs::path folder = fs::path(testing::TempDir()) / name;
  fs::remove_all(folder);
  for (const std::string& file : files) {
    fs::create_directories((folder / file).parent_path());
    std::ofstream(folder / file) << "x\n";
  }
  return folder;
}

TEST(RunFileErrors, OfFoldersAndFilesAreToldTogetherWithTheRest) {
  const std::string path = testing::TempDir() + "/broken_run.yaml";
  std::ofstream(path) << absl::StrReplaceAll(kGood, {{"steps: 10", "steps: x"}, {"train.txt", "none/*.txt"}});
  const absl::StatusOr<RunFile> run = LoadRunFile(path, {});
  ASSERT_FALSE(run.ok());
  const std::string message(run.status().message());
  EXPECT_THAT(message, testing::HasSubstr(":3:15: model.path: no such folder: "));
  EXPECT_THAT(message, testing::HasSubstr(":5:11: prompts.train: no file matches "));
  EXPECT_THAT(message, testing::HasSubstr(":6:16: prompts.evaluation: no such file: "));
  EXPECT_THAT(message, testing::HasSubstr(":12:11: scorers[0].path: no such folder: "));
  EXPECT_THAT(message, testing::HasSubstr(":18:10: train.steps has to be a whole number"));
}

TEST(RunFileErrors, NameTheFilesThatAModelFolderLacks) {
  const fs::path folder =
      FolderOf("half_model", {"base/model_index.json", "base/unet/config.json",
                              "base/unet/diffusion_pytorch_model.safetensors.index.json",
                              "base/vae/config.json", "base/vae/diffusion_pytorch_model.safetensors",
                              "base/text_encoder/config.json", "base/text_encoder/pytorch_model.bin",
                              "base/tokenizer/vocab.json", "base/scheduler/scheduler_config.json",
                              "train.txt", "eval.txt", "clip/config.json", "clip/model.safetensors",
                              "clip/preprocessor_config.json", "clip/vocab.json", "clip/merges.txt"});
  std::ofstream(folder / "run.yaml") << absl::StrReplaceAll(kGood, {{"path: other", "path: clip"}});
  EXPECT_EQ(LoadRunFile(folder / "run.yaml", {}).status().message(),
            absl::StrCat(
                (folder / "run.yaml").string(),
                ":3:15: model.path: no diffusers pipeline folder, it lacks text_encoder/model.safetensors, "
                "tokenizer/merges.txt (pickled .bin weights are never read; save as safetensors): ",
                (folder / "base").string()));
}

TEST(RunFileErrors, FilesOfWeightsWithoutWeights) {
  const fs::path folder =
      FolderOf("weightless", {"base/model_index.json", "base/unet/config.json",
                              "base/unet/diffusion_pytorch_model.safetensors", "base/vae/config.json",
                              "base/vae/diffusion_pytorch_model.safetensors", "base/text_encoder/config.json",
                              "base/text_encoder/model.safetensors", "base/tokenizer/vocab.json",
                              "base/tokenizer/merges.txt", "base/scheduler/scheduler_config.json",
                              "train.txt", "eval.txt", "clip/config.json", "clip/model.safetensors",
                              "clip/preprocessor_config.json", "clip/vocab.json", "clip/merges.txt"});
  std::ofstream(folder / "base/unet/diffusion_pytorch_model.safetensors", std::ios::trunc);
  std::ofstream(folder / "clip/model.safetensors")
      << "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
  std::ofstream(folder / "run.yaml") << absl::StrReplaceAll(kGood, {{"path: other", "path: clip"}});
  const std::string message(LoadRunFile(folder / "run.yaml", {}).status().message());
  EXPECT_THAT(message, testing::HasSubstr(":3:15: model.path: "));
  EXPECT_THAT(message, testing::HasSubstr("base/unet/diffusion_pytorch_model.safetensors is empty"));
  EXPECT_THAT(message, testing::HasSubstr("clip/model.safetensors is a Git LFS pointer"));
}

TEST(RunFileErrors, AValueOfTheCommandLineHasNoLine) {
  const std::string path = testing::TempDir() + "/overridden_run.yaml";
  std::ofstream(path) << kGood;
  const std::string message(LoadRunFile(path, {"rounds=-1"}).status().message());
  EXPECT_THAT(message, testing::HasSubstr(path + ": rounds has to be from 0"));
}

TEST(RunFileErrors, ATokenizerIsItsTwoFilesOrTheOneThatTransformers5Writes) {
  const fs::path folder = FolderOf(
      "tokenizers",
      {"base/model_index.json", "base/unet/config.json", "base/unet/diffusion_pytorch_model.safetensors",
       "base/vae/config.json", "base/vae/diffusion_pytorch_model.safetensors",
       "base/text_encoder/config.json", "base/text_encoder/model.safetensors",
       "base/tokenizer/tokenizer.json", "base/scheduler/scheduler_config.json", "train.txt", "eval.txt",
       "clip/config.json", "clip/model.safetensors", "clip/preprocessor_config.json", "clip/tokenizer.json"});
  std::ofstream(folder / "run.yaml") << absl::StrReplaceAll(kGood, {{"path: other", "path: clip"}});
  EXPECT_TRUE(LoadRunFile(folder / "run.yaml", {}).ok()) << LoadRunFile(folder / "run.yaml", {}).status();
  // Where there is a vocab.json, that is what is read.
  std::ofstream(folder / "clip/vocab.json") << "x\n";
  EXPECT_THAT(std::string(LoadRunFile(folder / "run.yaml", {}).status().message()),
              testing::HasSubstr("scorers[0].tokenizer: no tokenizer folder, it lacks merges.txt: "));
}

}  // namespace
}  // namespace rsidiff
