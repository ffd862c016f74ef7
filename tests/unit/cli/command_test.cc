// The commands against a fake coordinator: results, JSON, errors and exit codes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/artifact/folder.h"
#include "common/base/file.h"
#include "tests/unit/cli/command_line.h"
#include "tests/unit/cli/fake_coordinator.h"

namespace rsidiff::coordinator {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

v1::RunStatus MakeRun(uint64_t id, const std::string& name, v1::RunState state) {
  v1::RunStatus status;
  status.mutable_run()->set_id(id);
  status.mutable_run()->set_state(state);
  status.mutable_run()->mutable_spec()->set_name(name);
  status.mutable_run()->mutable_spec()->set_rounds(3);
  status.mutable_run()->mutable_spec()->add_scorers()->set_name("clip");
  v1::RoundRecord& base = *status.add_rounds();
  base.set_phase(v1::ROUND_PHASE_DONE);
  base.mutable_evaluation()->set_complete(true);
  (*base.mutable_evaluation()->mutable_scores())["clip"].set_mean(0.25);
  return status;
}

class Commands : public testing::Test {
 protected:
  Commands() {
    line.coordinator = fake.address();
    absl::MutexLock lock(&fake.mutex);
    fake.runs = {MakeRun(1, "shapes", v1::RUN_STATE_SUCCEEDED), MakeRun(2, "shapes", v1::RUN_STATE_ACTIVE),
                 MakeRun(3, "other", v1::RUN_STATE_FAILED)};
    v1::WorkerRecord worker;
    worker.set_name("w1");
    worker.set_state(v1::WORKER_STATE_ACTIVE);
    worker.mutable_capabilities()->set_device("cpu");
    worker.mutable_capabilities()->set_version(RSIDIFF_VERSION);
    worker.mutable_capabilities()->set_environment("x86");
    fake.workers = {worker};
  }

  static nlohmann::json Json(const CommandOutcome& outcome) {
    EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
    return nlohmann::json::parse(outcome.out);  // exactly one document
  }

  FakeCoordinator fake;
  CommandLine line;
};

TEST_F(Commands, ListsRuns) {
  const CommandOutcome outcome = line.Run({"run", "list"});
  EXPECT_EQ(outcome.code, ExitCode::kOk);
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("2  shapes  active"), HasSubstr("3  other   failed")));
  EXPECT_THAT(outcome.err, IsEmpty());
  const nlohmann::json json = Json(line.Run({"run", "list", "--json"}));
  EXPECT_EQ(json["runs"][1]["run"]["id"], "2");
  EXPECT_EQ(json["runs"][1]["run"]["best_round"], 0);  // primitives are always there
  EXPECT_EQ(json["runs"][1]["run"]["spec"]["name"], "shapes");
}

TEST_F(Commands, FindsARunByIdOrTheNewestOfAName) {
  EXPECT_THAT(line.Run({"run", "show", "1"}).out, HasSubstr("run        1 shapes"));
  EXPECT_THAT(line.Run({"run", "show", "shapes"}).out,
              AllOf(HasSubstr("run        2 shapes"), HasSubstr("0.2500"), HasSubstr("best")));
  EXPECT_EQ(Json(line.Run({"run", "show", "shapes", "--json"}))["run"]["id"], "2");
  const CommandOutcome near = line.Run({"run", "show", "shape"});
  EXPECT_EQ(near.code, ExitCode::kFailed);
  EXPECT_EQ(near.err, "error: no run with the name \"shape\"; did you mean \"shapes\"?\n");
  EXPECT_EQ(line.Run({"run", "show", "9"}).err, "error: no run 9\n");
}

TEST_F(Commands, ShowsTheSpecAsARunFile) {
  EXPECT_THAT(line.Run({"run", "show", "1", "--spec"}).out, StartsWith("name: shapes\nrounds: 3\n"));
}

TEST_F(Commands, ChangesStates) {
  EXPECT_EQ(line.Run({"run", "pause", "shapes"}).out, "run 2 is paused\n");
  EXPECT_EQ(line.Run({"run", "resume", "2"}).out, "run 2 is active\n");
  EXPECT_EQ(Json(line.Run({"run", "cancel", "2", "--json"}))["run"]["state"], "RUN_STATE_CANCELLED");
  const CommandOutcome ended = line.Run({"run", "pause", "1"});
  EXPECT_EQ(ended.code, ExitCode::kFailed);
  EXPECT_EQ(ended.err, "error: the run has ended\n");
}

TEST_F(Commands, ForksRuns) {
  EXPECT_EQ(line.Run({"run", "fork", "1", "--from-round", "2", "--rounds", "6"}).out, "77\n");
  absl::MutexLock lock(&fake.mutex);
  ASSERT_EQ(fake.forked.size(), 1);
  EXPECT_EQ(fake.forked[0].from_round(), 2);
  EXPECT_EQ(fake.forked[0].rounds(), 6);
  EXPECT_EQ(fake.forked[0].request_id().size(), 32);
}

TEST_F(Commands, ShowsRounds) {
  EXPECT_THAT(line.Run({"round", "show", "1", "0"}).out, HasSubstr("(the base model)"));
  EXPECT_EQ(Json(line.Run({"round", "show", "1", "0", "--json"}))["phase"], "ROUND_PHASE_DONE");
  EXPECT_EQ(line.Run({"round", "show", "1", "5"}).err, "error: run 1 has no round 5; its newest is 0\n");
}

TEST_F(Commands, ListsAndDrainsWorkers) {
  EXPECT_THAT(line.Run({"worker", "list"}).out, HasSubstr("w1    active  cpu"));
  EXPECT_EQ(Json(line.Run({"worker", "list", "--json"}))["workers"][0]["name"], "w1");
  EXPECT_EQ(line.Run({"worker", "drain", "w1", "--deadline", "10m"}).out, "worker w1 is draining\n");
  EXPECT_EQ(line.Run({"worker", "drain", "w2"}).code, ExitCode::kFailed);
  EXPECT_EQ(line.Run({"worker", "drain", "w1", "--deadline", "soon"}).code, ExitCode::kUsage);
  absl::MutexLock lock(&fake.mutex);
  EXPECT_EQ(fake.drained[0].deadline_seconds(), 600);
}

TEST_F(Commands, DoctorTellsWhatIsWrong) {
  const CommandOutcome well = line.Run({"doctor"});
  EXPECT_EQ(well.code, ExitCode::kOk) << well.out;
  EXPECT_THAT(well.out,
              AllOf(HasSubstr("ok    coordinator: reachable"), HasSubstr("ok    artifacts: shared folder"),
                    HasSubstr("ok    worker w1: active")));
  {
    absl::MutexLock lock(&fake.mutex);
    fake.version = "9.9";
    fake.workers.push_back(fake.workers[0]);
    fake.workers[1].set_name("w2");
    fake.workers[1].mutable_capabilities()->set_environment("arm");
  }
  EXPECT_THAT(line.Run({"doctor"}).out,
              AllOf(HasSubstr("warn  version: the coordinator is 9.9"), HasSubstr("w2: arm; w1: x86")));
}

TEST_F(Commands, UnreachableCoordinatorHasItsOwnCode) {
  line.coordinator = "127.0.0.1:1";
  const CommandOutcome outcome = line.Run({"run", "list"});
  EXPECT_EQ(outcome.code, ExitCode::kUnreachable);
  EXPECT_THAT(outcome.err, StartsWith("error: coordinator not reachable at 127.0.0.1:1"));
  const CommandOutcome doctor = line.Run({"doctor", "--json"});
  EXPECT_EQ(doctor.code, ExitCode::kFailed);
  EXPECT_EQ(nlohmann::json::parse(doctor.out)["findings"][1]["verdict"], "fail");
}

TEST_F(Commands, SubmitStoresModelsAndPrompts) {
  const std::string file = std::string(RSIDIFF_SOURCE_DIR) + "/deploy/examples/shapes.yaml";
  {
    absl::MutexLock lock(&fake.mutex);
    fake.failing_submissions = 1;
  }
  const CommandOutcome outcome = line.Run({"run", "submit", file});
  EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_EQ(outcome.out, "42\n");
  absl::MutexLock lock(&fake.mutex);
  ASSERT_EQ(fake.submitted.size(), 1);
  ASSERT_EQ(fake.submission_ids.size(), 2);
  EXPECT_EQ(fake.submission_ids[0], fake.submission_ids[1]);  // a retry is the same submission
  const v1::SubmitRunRequest& request = fake.submitted[0];
  EXPECT_EQ(request.inputs().train_prompts_size(), 2000);
  EXPECT_EQ(request.inputs().evaluation_prompts_size(), 128);
  EXPECT_EQ(request.spec().train().beta1(), 0.9);
  const v1::ScorerInputs& aesthetic = request.inputs().scorers().at("aesthetic");
  EXPECT_EQ(aesthetic.clip(), request.inputs().scorers().at("hps").model());
  EXPECT_EQ(aesthetic.tokenizer(), "");
  EXPECT_TRUE(ReadFolderManifest(fake.store(), request.inputs().model()).ok());
  EXPECT_TRUE(ReadFolderManifest(fake.store(), request.inputs().scorers().at("clip").tokenizer()).ok());
}

TEST_F(Commands, DryRunSubmitsNothing) {
  const std::string file = std::string(RSIDIFF_SOURCE_DIR) + "/deploy/examples/shapes.yaml";
  line.coordinator = "127.0.0.1:1";  // is not even asked
  const CommandOutcome outcome = line.Run({"run", "submit", file, "--dry-run"});
  EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("  ess_floor: 0.3\n"),
                    HasSubstr("#   a round       96 prompts, 384 samples in 24 tasks, at most 96 kept"),
                    HasSubstr("64 x 64 pixels"), HasSubstr("GPU hours     about "),
                    HasSubstr("989 TFLOP/s in bf16 and fp16, 67 in fp32, at 30 % of these")));
  const nlohmann::json json = Json(line.Run({"run", "submit", file, "--dry-run", "--json"}));
  EXPECT_EQ(json["plan"]["evaluation_samples"], 64);
  EXPECT_EQ(json["plan"]["unet_calls"], 2 * 12 * (3 * 384 + 4 * 64));
  EXPECT_EQ(json["spec"]["train"]["steps"], 40);
  const nlohmann::json slower = Json(line.Run({"run", "submit", file, "--dry-run", "--json",
                                               "--gpu-fp32-tflops", "33.5", "--gpu-utilization", "0.15"}));
  EXPECT_NEAR(slower["plan"]["gpu_hours"].get<double>() / json["plan"]["gpu_hours"].get<double>(), 4, 1e-9);
}

// A copy of the run file where the model folders that it names have every file, empty but for what a plan
// reads.
std::string WithModels(const std::string& name) {
  const std::string source = RSIDIFF_SOURCE_DIR;
  const std::filesystem::path root = testing::TempDir() + "/sd14";
  const std::filesystem::path models = root / "deploy/examples/models";
  std::map<std::string, std::string> files = {
      {"unet/config.json", R"({"sample_size": 64, "cross_attention_dim": 768})"},
      {"vae/config.json", R"({"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2})"},
      {"text_encoder/config.json",
       R"({"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12})"}};
  for (const char* file :
       {"model_index.json", "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors", "tokenizer/vocab.json",
        "tokenizer/merges.txt", "scheduler/scheduler_config.json"}) {
    files[file] = "";
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
      {"pickscore-v1", ""}};
  for (const auto& [file, text] : files) {
    const std::filesystem::path path = models / "stable-diffusion-v1-4" / file;
    EXPECT_TRUE(CreateFolders(path.parent_path()).ok());
    EXPECT_TRUE(WriteFileAtomically(path, text).ok());
  }
  for (const auto& [scorer, config] : scorers) {
    EXPECT_TRUE(CreateFolders(models / scorer).ok());
    EXPECT_TRUE(WriteFileAtomically(models / scorer / "config.json", config).ok());
    for (const char* file : {"model.safetensors", "preprocessor_config.json", "vocab.json", "merges.txt"}) {
      EXPECT_TRUE(WriteFileAtomically(models / scorer / file, "").ok());
    }
  }
  std::filesystem::remove(root / "tests");
  std::filesystem::create_directory_symlink(source + "/tests", root / "tests");
  const std::filesystem::path copy = root / "deploy/examples" / name;
  EXPECT_TRUE(WriteFileAtomically(copy, *ReadFile(source + "/deploy/examples/" + name)).ok());
  return copy;
}

TEST_F(Commands, ExampleRunFilesOfStableDiffusionArePlanned) {
  struct Expected {
    std::string file;
    uint64_t prompts;
    uint64_t samples;
    uint64_t kept;
    uint64_t evaluated;
  };
  // PartiPrompts less the three that the filter rejects; all of HPD.
  const Expected examples[] = {{"sd14-parti", 1629, 1629 * 8, 1629, 200},
                               {"sd14-hpd", 400, 400 * 16, 800, 100}};
  for (const Expected& expected : examples) {
    const std::string file = WithModels(expected.file + ".yaml");
    const CommandOutcome outcome = line.Run({"run", "submit", file, "--dry-run", "--json"});
    ASSERT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
    const nlohmann::json plan = Json(outcome)["plan"];
    EXPECT_EQ(plan["width"], 512);
    EXPECT_EQ(plan["rounds"], 8);
    EXPECT_EQ(plan["prompts_per_round"], expected.prompts);
    EXPECT_EQ(plan["samples_per_round"], expected.samples);
    EXPECT_EQ(plan["kept_per_round"], expected.kept);
    EXPECT_EQ(plan["evaluation_samples"], expected.evaluated);
    const double drawn = static_cast<double>(8 * expected.samples);
    const double evaluated = static_cast<double>(9 * expected.evaluated);
    EXPECT_EQ(plan["unet_calls"], 2 * 50 * (8 * expected.samples + 9 * expected.evaluated));
    // The known work of one pass, in FLOP: UNet 0.803e12, VAE decoder 2.515e12, text encoder 0.013e12;
    // ViT-H/14 0.335e12 and 0.047e12, ViT-L/14 0.162e12 and 0.013e12.
    const double sampling = (drawn + evaluated) * (100 * 0.803e12 + 2.515e12 + 0.013e12);
    const double scoring = (drawn + evaluated) * (0.335e12 + 0.047e12 + 0.162e12 + 0.013e12);
    const double training = 8 * 200 * 64 * (3 * 0.803e12 + 0.013e12);
    EXPECT_NEAR(plan["sampling_flops"].get<double>() / sampling, 1, 0.002);
    EXPECT_NEAR(plan["scoring_flops"].get<double>() / scoring, 1, 0.02);
    EXPECT_NEAR(plan["training_flops"].get<double>() / training, 1, 0.002);
    EXPECT_EQ(plan["scorers_not_counted"], nlohmann::json({"pickscore"}));
    const double seconds = ((sampling + training) / 989e12 + scoring / 67e12) / 0.3;
    EXPECT_NEAR(plan["gpu_hours"].get<double>() / (seconds / 3600), 1, 0.01);
  }
}

TEST_F(Commands, WrongRunFilesAreUsageErrors) {
  EXPECT_EQ(line.Run({"run", "submit", "/nowhere.yaml"}).code, ExitCode::kFailed);
  const std::string path = testing::TempDir() + "/wrong.yaml";
  FILE* file = fopen(path.c_str(), "w");
  fputs("nmae: x\n", file);
  fclose(file);
  const CommandOutcome outcome = line.Run({"run", "submit", path});
  EXPECT_EQ(outcome.code, ExitCode::kUsage);
  EXPECT_THAT(outcome.err, HasSubstr("wrong.yaml:1:1: unknown key \"nmae\"; did you mean \"name\"?"));
  EXPECT_THAT(outcome.out, IsEmpty());
}

TEST_F(Commands, UsageErrorsAndHelp) {
  line.coordinator = "";
  EXPECT_EQ(line.Run({}).code, ExitCode::kUsage);
  EXPECT_EQ(line.Run({"run", "sumbit"}).code, ExitCode::kUsage);
  EXPECT_EQ(line.Run({"export", "1"}).code, ExitCode::kUsage);
  const CommandOutcome help = line.Run({"--help"});
  EXPECT_EQ(help.code, ExitCode::kOk);
  EXPECT_THAT(help.out, AllOf(HasSubstr("Exit codes:"), HasSubstr("Examples:")));
  const std::vector<std::vector<std::string>> all = {{"run"},
                                                     {"run", "submit"},
                                                     {"run", "list"},
                                                     {"run", "show"},
                                                     {"run", "watch"},
                                                     {"run", "pause"},
                                                     {"run", "resume"},
                                                     {"run", "cancel"},
                                                     {"run", "fork"},
                                                     {"round"},
                                                     {"round", "show"},
                                                     {"worker"},
                                                     {"worker", "list"},
                                                     {"worker", "drain"},
                                                     {"samples"},
                                                     {"grid"},
                                                     {"report"},
                                                     {"export"},
                                                     {"doctor"},
                                                     {"version"},
                                                     {"completion"},
                                                     {"completion", "bash"}};
  for (std::vector<std::string> command : all) {
    command.push_back("--help");
    const CommandOutcome outcome = line.Run(command);
    EXPECT_EQ(outcome.code, ExitCode::kOk) << command[0];
    EXPECT_THAT(outcome.out, HasSubstr("Examples:")) << command[0];
  }
}

TEST_F(Commands, VersionAndCompletionNeedNoCoordinator) {
  line.coordinator = "127.0.0.1:1";
  EXPECT_THAT(line.Run({"version"}).out, StartsWith("rsidiff " RSIDIFF_VERSION));
  EXPECT_EQ(Json(line.Run({"version", "--json"}))["version"], RSIDIFF_VERSION);
  const CommandOutcome bash = line.Run({"completion", "bash"});
  EXPECT_EQ(bash.code, ExitCode::kOk);
  EXPECT_THAT(bash.out,
              AllOf(HasSubstr("complete -o filenames -F _rsidiff rsidiff"), HasSubstr("--dry-run")));
}

}  // namespace
}  // namespace rsidiff::coordinator
