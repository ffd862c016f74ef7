// The commands that write files: samples, grid, report, export.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/artifact/folder.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/image/png.h"
#include "coordinator/cli/sample_pages.h"
#include "tests/unit/cli/command_line.h"
#include "tests/unit/cli/fake_coordinator.h"

namespace rsidiff::coordinator {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// A run with an evaluated base model and two trained rounds, the first of which is the best.
class Outputs : public testing::Test {
 protected:
  Outputs() : folder(fs::temp_directory_path() / absl::StrCat("rsidiff-outputs-", RandomId())) {
    fs::create_directories(folder);
    line.coordinator = fake.address();
    v1::RunStatus status;
    v1::RunRecord& run = *status.mutable_run();
    run.set_id(5);
    run.set_state(v1::RUN_STATE_SUCCEEDED);
    run.set_best_round(1);
    run.mutable_spec()->set_name("shapes");
    run.mutable_spec()->add_scorers()->set_name("clip");
    run.mutable_inputs()->set_model(StoreModel());
    for (uint32_t number = 0; number < 3; ++number) {
      v1::RoundRecord& round = *status.add_rounds();
      round.set_round(number);
      if (number > 0) round.set_checkpoint(*fake.store().Put(absl::StrCat("weights of round ", number)));
      round.mutable_evaluation()->set_complete(true);
      (*round.mutable_evaluation()->mutable_scores())["clip"].set_mean(0.5);
    }
    absl::MutexLock lock(&fake.mutex);
    for (uint32_t round = 0; round < 3; ++round) {
      for (uint32_t prompt = 0; prompt < 3; ++prompt) AddSample(round, v1::PURPOSE_EVALUATION, prompt);
    }
    for (uint32_t prompt = 0; prompt < 3; ++prompt) AddSample(1, v1::PURPOSE_TRAINING, prompt);
    fake.runs = {status};
  }
  ~Outputs() override { fs::remove_all(folder); }

  std::string StoreModel() {
    const fs::path model = folder / "model";
    for (const char* file :
         {"model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
          "unet/diffusion_pytorch_model.fp16.safetensors", "vae/config.json"}) {
      fs::create_directories((model / file).parent_path());
      std::ofstream(model / file) << "base " << file;
    }
    return *ImportFolder(fake.store(), model);
  }

  void AddSample(uint32_t round, v1::Purpose purpose, uint32_t prompt)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fake.mutex) {
    Image image = MakeImage(64, 64);
    std::fill(image.rgb.begin(), image.rgb.end(), static_cast<uint8_t>(40 * round + 10 * prompt + 1));
    v1::SampleRecord sample;
    sample.set_index(prompt);
    sample.set_prompt_id(prompt);
    sample.set_prompt(absl::StrCat("a <prompt> ", prompt));
    sample.set_seed(1'000'000'000'000 + prompt);
    sample.set_reward(prompt == 1 ? 9 : -1.0 * prompt);
    (*sample.mutable_scores())["clip"] = 0.5 + prompt;
    sample.set_image(*fake.store().Put(*EncodePng(image)));
    fake.samples[{round, purpose}].push_back(sample);
  }

  static std::string Text(const fs::path& path) { return ReadFile(path).value_or("(none)"); }

  fs::path folder;
  FakeCoordinator fake;
  CommandLine line;
};

TEST_F(Outputs, SamplesWritesPicturesAndRecords) {
  const std::string out = folder / "samples";
  const CommandOutcome outcome = line.Run({"samples", "5", "--round", "1", "--top", "2", "--out", out});
  ASSERT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_EQ(outcome.out, out + "\n");
  const std::vector<std::string> lines =
      absl::StrSplit(Text(out + "/samples.jsonl"), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 2);
  const nlohmann::json first = nlohmann::json::parse(lines[0]);  // best reward first
  EXPECT_EQ(first["file"], "00001.png");
  EXPECT_EQ(first["prompt"], "a <prompt> 1");
  EXPECT_EQ(first["seed"], 1'000'000'000'001);
  EXPECT_EQ(Sha256Hex(Text(out + "/00001.png")), first["sha256"]);
  EXPECT_FALSE(fs::exists(out + "/00002.png"));
}

TEST_F(Outputs, SampleLinesHoldTheRunsJudgement) {
  {
    absl::MutexLock lock(&fake.mutex);
    std::vector<v1::SampleRecord>& samples = fake.samples[{1, v1::PURPOSE_TRAINING}];
    samples[0].set_distance(0);  // measured: exactly average
    samples[0].set_selected(true);
    for (v1::SampleRecord& sample : samples) {
      (*sample.mutable_z())["clip"] = 0.25;
      sample.set_rank(sample.index() + 1);
    }
  }
  ASSERT_EQ(line.Run({"samples", "5", "--round", "1", "--out", folder / "samples"}).code, ExitCode::kOk);
  const std::vector<std::string> lines =
      absl::StrSplit(Text(folder / "samples/samples.jsonl"), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 3);
  const nlohmann::json kept = nlohmann::json::parse(lines[0]);
  EXPECT_EQ(kept["z"]["clip"], 0.25);
  EXPECT_EQ(kept["rank"], 1);
  EXPECT_EQ(kept["distance"], 0);
  EXPECT_EQ(nlohmann::json::parse(lines[2])["rank"], 3);
  EXPECT_FALSE(nlohmann::json::parse(lines[2]).contains("distance")) << "not measured";
}

TEST_F(Outputs, SamplesRefusesAFullFolderAndNeedsADestination) {
  EXPECT_EQ(line.Run({"samples", "5", "--round", "1"}).code, ExitCode::kUsage);
  const CommandOutcome full = line.Run({"samples", "5", "--round", "1", "--out", folder / "model"});
  EXPECT_EQ(full.code, ExitCode::kFailed);
  EXPECT_THAT(full.err, HasSubstr("there is something already"));
  EXPECT_EQ(line.Run({"samples", "5", "--round", "8", "--out", folder / "x"}).code, ExitCode::kFailed);
  const CommandOutcome json =
      line.Run({"samples", "5", "--round", "0", "--evaluation", "--top", "1", "--json"});
  EXPECT_EQ(nlohmann::json::parse(json.out)["samples"][0]["index"], 2);  // best mean score
}

TEST_F(Outputs, SamplesLeavesNothingBehindWhenAPictureIsGone) {
  {
    absl::MutexLock lock(&fake.mutex);
    fake.samples[{1, v1::PURPOSE_TRAINING}][0].set_image(Sha256Hex("never stored"));
  }
  EXPECT_EQ(line.Run({"samples", "5", "--round", "1", "--out", folder / "broken"}).code, ExitCode::kFailed);
  for (const auto& entry : fs::directory_iterator(folder)) EXPECT_EQ(entry.path().filename(), "model");
}

TEST_F(Outputs, SamplesCountsThePicturesThatAreThere) {
  const std::string all = line.Run({"samples", "5", "--round", "1", "--out", folder / "all"}).err;
  EXPECT_EQ(all, "wrote 3 pictures and samples.jsonl\n");
  {
    absl::MutexLock lock(&fake.mutex);
    fake.samples[{1, v1::PURPOSE_TRAINING}][2].clear_image();
  }
  const CommandOutcome outcome = line.Run({"samples", "5", "--round", "1", "--out", folder / "some"});
  EXPECT_EQ(outcome.code, ExitCode::kOk);
  EXPECT_EQ(outcome.err, "wrote 2 pictures and samples.jsonl; 1 sample has not been drawn yet\n");
  EXPECT_FALSE(fs::exists(folder / "some/00002.png"));
}

TEST_F(Outputs, SamplesHasNoDeadlineForTheWholeRound) {
  EXPECT_EQ(line.Run({"samples", "5", "--round", "1", "--json"}).code, ExitCode::kOk);
  absl::MutexLock lock(&fake.mutex);
  EXPECT_EQ(fake.samples_deadline, std::chrono::system_clock::time_point::max());
}

TEST_F(Outputs, AStreamWhereNothingArrivesIsGivenUp) {
  {
    absl::MutexLock lock(&fake.mutex);
    fake.samples_stall = true;
  }
  const auto stub =
      v1::ControlService::NewStub(grpc::CreateChannel(fake.address(), grpc::InsecureChannelCredentials()));
  v1::ListSamplesRequest request;
  request.set_run_id(5);
  request.set_round(1);
  request.set_purpose(v1::PURPOSE_TRAINING);
  grpc::ClientContext context;
  SamplePages pages(*stub, context, request, absl::Seconds(3));
  std::vector<uint32_t> indices;
  v1::ListSamplesResponse page;
  while (pages.Read(&page)) indices.push_back(page.samples(0).index());
  EXPECT_THAT(indices, testing::ElementsAre(0, 1, 2));
  const grpc::Status status = pages.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(status.error_message(), "nothing arrived for 3s");
}

TEST_F(Outputs, JsonIsOneDocument) {
  const auto run = [&](std::vector<std::string> arguments) {
    arguments.push_back("--json");
    const CommandOutcome outcome = line.Run(arguments);
    EXPECT_EQ(outcome.code, ExitCode::kOk) << arguments[0] << ": " << outcome.err;
    nlohmann::json json = nlohmann::json::parse(outcome.out, nullptr, /*allow_exceptions=*/false);
    EXPECT_TRUE(json.is_object()) << arguments[0] << ": " << outcome.out;
    return json;
  };
  {
    absl::MutexLock lock(&fake.mutex);
    fake.runs[0].mutable_run()->set_state(v1::RUN_STATE_ACTIVE);
    fake.workers.emplace_back().set_name("w1");
  }
  struct Case {
    std::vector<std::string> arguments;
    std::string pointer;  // into the document
    nlohmann::json value;
  };
  const Case cases[] = {
      {{"export", "5", "--out", folder / "best"}, "/round", 1},
      {{"grid", "5", "--out", folder / "grid.png"}, "/samples/0/prompt", "a <prompt> 0"},
      {{"report", "5", "--out", folder / "report.html"}, "/run/id", "5"},
      {{"samples", "5", "--round", "1", "--out", folder / "samples"}, "/samples/2/index", 2},
      {{"worker", "drain", "w1"}, "/state", "WORKER_STATE_DRAINING"},
      {{"backup", "--name", "before"}, "/path", "/backups/before"},
      {{"run", "fork", "5", "--from-round", "1"}, "/run_id", "77"},
      {{"run", "pause", "5"}, "/run/state", "RUN_STATE_PAUSED"},
      {{"run", "resume", "5"}, "/run/state", "RUN_STATE_ACTIVE"},
  };
  for (const Case& expected : cases) {
    const nlohmann::json json = run(expected.arguments);
    const nlohmann::json::json_pointer pointer(expected.pointer);
    ASSERT_TRUE(json.contains(pointer)) << expected.arguments[0] << ": " << json;
    EXPECT_EQ(json.at(pointer), expected.value) << expected.arguments[0];
  }
}

TEST_F(Outputs, GridShowsPromptsByRounds) {
  const std::string out = folder / "grid.png";
  const CommandOutcome outcome = line.Run({"grid", "shapes", "--out", out, "--rows", "2"});
  ASSERT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("columns: rounds 0, 1, 2"), HasSubstr("a <prompt> 1"),
                                 Not(HasSubstr("a <prompt> 2"))));
  const absl::StatusOr<Image> image = DecodePng(Text(out));
  ASSERT_TRUE(image.ok()) << image.status();
  // The last cell, 128 pixels large (twice 64), ends one gap before the border.
  EXPECT_EQ(image->row(image->height - 20)[3 * (image->width - 20)], 40 * 2 + 10 * 1 + 1);
  EXPECT_EQ(image->row(image->height - 20)[3 * (image->width - 20 - 134)], 40 * 1 + 10 * 1 + 1);
  EXPECT_EQ(image->row(image->height - 20 - 134)[3 * (image->width - 20)], 40 * 2 + 1);
  EXPECT_EQ(image->row(image->height - 1)[3 * (image->width - 1)], 255);
}

TEST_F(Outputs, ReportIsOneSelfContainedFile) {
  const std::string out = folder / "report.html";
  const CommandOutcome outcome = line.Run({"report", "5", "--out", out});
  ASSERT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  const std::string html = Text(out);
  EXPECT_THAT(html, AllOf(HasSubstr("<h1>Run 5 shapes</h1>"), HasSubstr("a &lt;prompt&gt; 2"),
                          HasSubstr("data:image/png;base64,iVBOR"), HasSubstr("<tr class=\"best\">")));
  EXPECT_THAT(html, AllOf(Not(HasSubstr("http://")), Not(HasSubstr("https://")), Not(HasSubstr("<script"))));
  EXPECT_THAT(html, Not(HasSubstr("collapsed")));
}

TEST_F(Outputs, ReportSaysThatARoundCollapsed) {
  {
    absl::MutexLock lock(&fake.mutex);
    fake.runs[0].mutable_run()->set_collapse("round 2 has collapsed: diversity < 0.1");
  }
  const std::string out = folder / "report.html";
  ASSERT_EQ(line.Run({"report", "5", "--out", out}).code, ExitCode::kOk);
  EXPECT_THAT(Text(out), HasSubstr("\nwarning: round 2 has collapsed: diversity &lt; 0.1\n"));
}

TEST_F(Outputs, ExportPutsTheTrainedUnetIntoTheBaseModelsFolder) {
  const fs::path out = folder / "best";
  const CommandOutcome outcome = line.Run({"export", "5", "--round", "best", "--out", out});
  ASSERT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_EQ(Text(out / "unet/diffusion_pytorch_model.safetensors"), "weights of round 1");
  EXPECT_FALSE(
      fs::exists(out / "unet/diffusion_pytorch_model.fp16.safetensors"));  // would be the old weights
  EXPECT_EQ(Text(out / "vae/config.json"), "base vae/config.json");
  EXPECT_EQ(nlohmann::json::parse(Text(out / "rsidiff.json"))["round"], 1);
  EXPECT_EQ(line.Run({"export", "5", "--out", out}).code, ExitCode::kFailed);  // not empty any more
  EXPECT_EQ(Text(out / "unet/diffusion_pytorch_model.safetensors"), "weights of round 1");
}

TEST_F(Outputs, ExportSaysThatTheBaseIsTheBest) {
  {
    absl::MutexLock lock(&fake.mutex);
    fake.runs[0].mutable_run()->set_best_round(0);
  }
  const CommandOutcome outcome = line.Run({"export", "5", "--out", folder / "base"});
  EXPECT_THAT(outcome.err, HasSubstr("the base model is the best so far"));
  EXPECT_EQ(Text(folder / "base/unet/diffusion_pytorch_model.safetensors"),
            "base unet/diffusion_pytorch_model.safetensors");
}

TEST_F(Outputs, ExportOfALoraRunIsAnAdapterFolder) {
  {
    absl::MutexLock lock(&fake.mutex);
    fake.runs[0].mutable_run()->mutable_spec()->mutable_train()->set_method(v1::TRAIN_METHOD_LORA);
  }
  const CommandOutcome outcome = line.Run({"export", "5", "--round", "2", "--out", folder / "lora"});
  EXPECT_THAT(outcome.err, HasSubstr("load_lora_weights"));
  EXPECT_EQ(Text(folder / "lora/pytorch_lora_weights.safetensors"), "weights of round 2");
  EXPECT_FALSE(fs::exists(folder / "lora/unet"));
}

TEST_F(Outputs, ExportNamesAWrongRound) {
  EXPECT_EQ(line.Run({"export", "5", "--round", "last", "--out", folder / "x"}).code, ExitCode::kUsage);
  EXPECT_EQ(line.Run({"export", "5", "--round", "7", "--out", folder / "x"}).err,
            "error: run 5 has no round 7\n");
  EXPECT_FALSE(fs::exists(folder / "x"));
}

}  // namespace
}  // namespace rsidiff::coordinator
