#include "common/config/run_file.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/config/defaults.h"
#include "common/config/nearest_name.h"
#include "common/config/spec_reader.h"
#include "common/config/yaml_tree.h"
#include "common/config/yaml_writer.h"

namespace rsidiff {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::ElementsAre;

constexpr char kMinimal[] = R"(
name: small
rounds: 1
model: {path: ../models/base/}
prompts: {train: [train.txt], evaluation: /abs/eval.txt}
scorers:
  - {name: clip, type: clipscore, path: clip, tokenizer: base/tokenizer}
  - {name: looks, type: aesthetic, path: head, clip: clip}
  - {name: held, type: clip-logit, path: held, role: held_out}
)";

RunFile Parse(const std::string& text) {
  absl::StatusOr<RunFile> file = ParseRunFile(text, "/runs/mine/run.yaml");
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? *file : RunFile{};
}

TEST(RunFile, FillsInDefaultsAndResolvesPaths) {
  const v1::RunSpec spec = Parse(kMinimal).spec;
  EXPECT_EQ(spec.model().path(), "/runs/models/base");
  EXPECT_THAT(spec.prompts().train(), ElementsAre("/runs/mine/train.txt"));
  EXPECT_THAT(spec.prompts().evaluation(), ElementsAre("/abs/eval.txt"));
  EXPECT_EQ(spec.scorers(0).tokenizer(), "/runs/mine/base/tokenizer");
  EXPECT_EQ(spec.scorers(1).clip(), "/runs/mine/clip");
  EXPECT_EQ(spec.scorers(1).tokenizer(), "");
  EXPECT_EQ(spec.scorers(2).tokenizer(), "/runs/mine/held");
  EXPECT_EQ(spec.scorers(0).role(), v1::SCORER_ROLE_SELECTION);
  EXPECT_EQ(spec.weights().method(), v1::WEIGHT_METHOD_GAUSSIAN);
  EXPECT_EQ(spec.weights().features(), "clip");
  EXPECT_EQ(spec.evaluation().features(), "held");
  EXPECT_EQ(spec.evaluation().guidance_scale(), 7.5);
  EXPECT_EQ(spec.sampling().scheduler(), v1::SCHEDULER_TYPE_UNSPECIFIED);
  EXPECT_FALSE(spec.selection().has_gate());
  EXPECT_FALSE(spec.train().has_lora());
  EXPECT_EQ(spec.train().learning_rate(), 1e-5);
}

// Every optional field but the ones that mean something by being absent.
void ExpectComplete(const google::protobuf::Message& message, const std::string& path) {
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const google::protobuf::FieldDescriptor* field = type.field(i);
    const std::string name = path + field->name();
    if (field->is_repeated() || name == "selection.gate" || name == "train.lora" || name == "prompts.filter")
      continue;
    EXPECT_TRUE(!field->has_presence() || message.GetReflection()->HasField(message, field)) << name;
    if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) {
      ExpectComplete(message.GetReflection()->GetMessage(message, field), name + ".");
    }
  }
}

TEST(RunFile, DefaultsLeaveNothingOpen) {
  v1::RunSpec spec = Parse(kMinimal).spec;
  ExpectComplete(spec, "");
  const v1::RunSpec once = spec;
  FillDefaults(spec);
  EXPECT_TRUE(MessageDifferencer::Equals(once, spec));
}

TEST(RunFile, EvaluationFollowsSamplingAndTheSeed) {
  const v1::RunSpec spec =
      Parse(
          absl::StrCat(kMinimal, "seed: 18446744073709551615\nsampling: {steps: 12, guidance_scale: 2.5}\n"))
          .spec;
  EXPECT_EQ(spec.evaluation().seed(), 18446744073709551615u);
  EXPECT_EQ(spec.evaluation().steps(), 12);
  EXPECT_EQ(spec.evaluation().guidance_scale(), 2.5);
}

TEST(RunFile, LoraGetsItsDefaults) {
  const v1::LoraSpec lora =
      Parse(absl::StrCat(kMinimal, "train: {method: lora, lora: {rank: 8}}\n")).spec.train().lora();
  EXPECT_EQ(lora.alpha(), 8);
  EXPECT_THAT(lora.targets(), ElementsAre("to_q", "to_k", "to_v", "to_out.0"));
}

TEST(RunFile, TakesAliasesEmptySectionsAndUsualSpellings) {
  const v1::RunSpec spec = Parse(absl::StrCat(kMinimal, "sampling: {scheduler: dpmsolver++, steps: &n 7}\n",
                                              "evaluation: {steps: *n}\nstop:\n"))
                               .spec;
  EXPECT_EQ(spec.sampling().scheduler(), v1::SCHEDULER_TYPE_DPMSOLVERPP);
  EXPECT_EQ(spec.evaluation().steps(), 7);
}

TEST(RunFile, WarnsAboutWhatIsProbablyNotMeant) {
  std::string text = kMinimal;
  text.resize(text.find("  - {name: held"));
  const RunFile file =
      Parse(absl::StrCat(text, "selection: {method: all, keep: 2}\ntrain: {caption_dropout: 0}\n"));
  ASSERT_EQ(file.warnings.size(), 3);
  EXPECT_EQ(FormatDiagnostics("f", {file.warnings[1]}),
            "f:9:32: selection.keep has no effect with method: all");
  EXPECT_TRUE(Parse(kMinimal).warnings.empty());
}

std::string Warnings(const std::string& more) {
  return FormatDiagnostics("f", Parse(absl::StrCat(kMinimal, more)).warnings);
}

TEST(RunFile, WarnsOfPreferencesOfASingleSample) {
  const std::string all_one =
      "weights.method is preference, which compares the kept samples of a prompt, and one is kept: all "
      "weights "
      "are 1";
  const std::string no_effect = "weights.temperature has no effect where one sample of a prompt is kept";
  EXPECT_EQ(Warnings("weights: {method: preference}\n"), "f:10:19: " + all_one);
  EXPECT_EQ(Warnings("weights: {method: preference}\nselection: {keep: 2}\n"), "");
  EXPECT_EQ(Warnings("weights: {method: preference}\nselection: {method: all}\n"), "");
  EXPECT_EQ(Warnings("weights: {method: preference}\nselection: {method: all}\n"
                     "sampling: {samples_per_prompt: 1}\n"),
            "f:10:19: " + all_one);
  EXPECT_EQ(Warnings("weights: {temperature: 0.5}\n"), "f:10:24: " + no_effect);
  EXPECT_EQ(Warnings("weights: {temperature: 0.5}\nselection: {keep: 2}\n"), "");
  EXPECT_EQ(Warnings("weights: {penalty: 2}\n"), "");
}

TEST(RunFile, NoRoundsNeedNoTrainingPrompts) {
  const auto file = ParseRunFile(
      "name: base\nrounds: 0\nmodel: {path: b}\nprompts: {evaluation: e.txt}\n"
      "scorers: [{name: c, type: hps, path: c}]\n",
      "r.yaml");
  EXPECT_TRUE(file.ok()) << file.status();
}

TEST(RunFile, ExpandsPromptPatternsInNameOrder) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "patterns";
  std::filesystem::create_directories(folder);
  for (const char* name : {"b.txt", "a.txt", "c.json"}) std::ofstream(folder / name) << "x\n";
  std::string text = kMinimal;
  text.replace(text.find("train.txt"), 9, "'*.txt'");
  const auto file = ParseRunFile(text, folder / "run.yaml");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(file->spec.prompts().train(),
              ElementsAre((folder / "a.txt").string(), (folder / "b.txt").string()));
}

void Randomise(google::protobuf::Message* message, std::mt19937& random) {
  using google::protobuf::FieldDescriptor;
  const google::protobuf::Reflection& reflection = *message->GetReflection();
  const std::string alphabet = "ab \"\\\n\t:#{}[],&*!|>'%@`\x01\x7F-?1.~";
  const auto text = [&] {
    std::string made = random() % 4 == 0 ? "\xC3\xA9\xF0\x9F\x98\x80" : "";
    for (size_t n = random() % 8; n > 0; --n) made += alphabet[random() % alphabet.size()];
    const char* const words[] = {"null", "true", "1e5", "", "0x10", "~", "no"};
    return random() % 4 == 0 ? std::string(words[random() % 7]) : made;
  };
  for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message->GetDescriptor()->field(i);
    if (random() % 3 == 0) continue;
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        if (!field->is_repeated())
          reflection.SetString(message, field, text());
        else
          for (size_t n = random() % 3; n > 0; --n) reflection.AddString(message, field, text());
        break;
      case FieldDescriptor::CPPTYPE_MESSAGE:
        if (!field->is_repeated())
          Randomise(reflection.MutableMessage(message, field), random);
        else
          for (size_t n = random() % 3; n > 0; --n) Randomise(reflection.AddMessage(message, field), random);
        break;
      case FieldDescriptor::CPPTYPE_ENUM:
        reflection.SetEnumValue(message, field, random() % field->enum_type()->value_count());
        break;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        reflection.SetDouble(
            message, field,
            std::ldexp(static_cast<double>(random()) - 2e9, static_cast<int>(random() % 80) - 60));
        break;
      case FieldDescriptor::CPPTYPE_BOOL:
        reflection.SetBool(message, field, random() % 2 == 0);
        break;
      case FieldDescriptor::CPPTYPE_UINT32:
        reflection.SetUInt32(message, field, random());
        break;
      default:
        reflection.SetUInt64(message, field, (static_cast<uint64_t>(random()) << 32) | random());
    }
  }
}

TEST(RunSpecToYaml, ReadsBackAsTheSameSpec) {
  std::mt19937 random(5);
  for (int i = 0; i < 500; ++i) {
    v1::RunSpec spec;
    Randomise(&spec, random);
    const std::string yaml = RunSpecToYaml(spec);
    if (yaml.empty()) continue;
    const YamlDocument document = ParseYaml(yaml);
    ASSERT_NE(document.root, nullptr) << yaml << FormatDiagnostics("f", document.errors);
    const ReadSpec read = ReadRunSpec(*document.root);
    ASSERT_TRUE(read.errors.empty()) << yaml << FormatDiagnostics("f", read.errors);
    ASSERT_EQ(spec.SerializeAsString(), read.spec.SerializeAsString()) << yaml;
  }
}

TEST(RunSpecToYaml, AResolvedRunFileIsARunFile) {
  const v1::RunSpec spec = Parse(kMinimal).spec;
  const auto again = ParseRunFile(RunSpecToYaml(spec), "/elsewhere/run.yaml");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(MessageDifferencer::Equals(spec, again->spec));
}

TEST(NearestName, CountsSwapsAndIgnoresCase) {
  EXPECT_EQ(NearestName("setps", {"steps", "seed"}), "steps");
  EXPECT_EQ(NearestName("Warmup-Steps", {"warmup_steps"}), "warmup_steps");
  EXPECT_EQ(NearestName("zzz", {"steps", "seed"}), std::nullopt);
  EXPECT_EQ(NearestName(std::string(100'000, 'a'), {"steps"}), std::nullopt);
}

/// The run files whose models are in the repository; those of Stable Diffusion are tested with stand-ins for
/// its folders (command_test.cc).
TEST(ExampleRunFiles, OfShapesLoad) {
  const std::filesystem::path folder = std::filesystem::path(RSIDIFF_SOURCE_DIR) / "deploy/examples";
  int loaded = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".yaml" || !absl::StartsWith(entry.path().stem().string(), "shapes"))
      continue;
    const auto file = LoadRunFile(entry.path(), {});
    EXPECT_TRUE(file.ok()) << file.status();
    if (!file.ok()) continue;
    EXPECT_TRUE(file->warnings.empty()) << FormatDiagnostics(file->path, file->warnings);
    ++loaded;
  }
  EXPECT_GE(loaded, 4);
}

}  // namespace
}  // namespace rsidiff
