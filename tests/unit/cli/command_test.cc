// The commands against a fake coordinator: results, JSON, errors and exit codes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "common/artifact/folder.h"
#include "common/base/file.h"
#include "common/config/run_file.h"
#include "coordinator/cli/child_process.h"
#include "tests/unit/cli/command_line.h"
#include "tests/unit/cli/fake_coordinator.h"

namespace rsidiff::coordinator {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
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

v1::RunSpec WholeSpec() {
  return ParseRunFile(
             "name: shapes\nrounds: 3\nseed: 7\nmodel: {path: /base}\n"
             "prompts: {train: /train.txt, evaluation: /eval.txt}\n"
             "scorers: [{name: clip, type: clipscore, path: /clip}]\n",
             "run.yaml")
      ->spec;
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

TEST_F(Commands, CollapsedRunsAreMarked) {
  EXPECT_THAT(line.Run({"run", "list"}).out, Not(HasSubstr("collapsed")));
  {
    absl::MutexLock lock(&fake.mutex);
    fake.runs[1].mutable_run()->set_collapse("round 1 has collapsed: its pictures look alike");
  }
  EXPECT_THAT(line.Run({"run", "list"}).out,
              AllOf(HasSubstr("2  shapes  active     0/3       0  -                collapsed\n"),
                    HasSubstr("3  other   failed     0/3       0  -\n")));
  EXPECT_THAT(line.Run({"run", "show", "2"}).out,
              HasSubstr("\nwarning: round 1 has collapsed: its pictures look alike\n"));
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
  EXPECT_FALSE(fake.forked[0].has_spec());
}

TEST_F(Commands, ForksRunsWithOtherValues) {
  {
    absl::MutexLock lock(&fake.mutex);
    *fake.runs[0].mutable_run()->mutable_spec() = WholeSpec();
  }
  EXPECT_EQ(line.Run({"run", "fork", "1", "--from-round", "2", "--set", "seed=8", "--set",
                      "train.learning_rate=0.5"})
                .out,
            "77\n");
  absl::MutexLock lock(&fake.mutex);
  ASSERT_EQ(fake.forked.size(), 1);
  v1::RunSpec expected = fake.runs[0].run().spec();
  expected.set_seed(8);
  expected.mutable_train()->set_learning_rate(0.5);
  EXPECT_EQ(fake.forked[0].spec().DebugString(), expected.DebugString());
  EXPECT_EQ(fake.forked[0].spec().evaluation().seed(), 7) << "evaluations stay comparable";
}

TEST_F(Commands, AForksValuesAreChecked) {
  {
    absl::MutexLock lock(&fake.mutex);
    *fake.runs[0].mutable_run()->mutable_spec() = WholeSpec();
  }
  const CommandOutcome range =
      line.Run({"run", "fork", "1", "--from-round", "2", "--set", "train.learning_rate=5"});
  EXPECT_EQ(range.err,
            "error: the spec of run 1: train.learning_rate has to be above 0 and at most 1, not 5\n");
  EXPECT_THAT(line.Run({"run", "fork", "1", "--from-round", "2", "--set", "train.lerning_rate=0.1"}).err,
              HasSubstr("learning_rate"));
  absl::MutexLock lock(&fake.mutex);
  EXPECT_THAT(fake.forked, IsEmpty());
}

TEST_F(Commands, ShowsRounds) {
  EXPECT_THAT(line.Run({"round", "show", "1", "0"}).out, HasSubstr("(the base model)"));
  EXPECT_EQ(Json(line.Run({"round", "show", "1", "0", "--json"}))["phase"], "ROUND_PHASE_DONE");
  EXPECT_EQ(line.Run({"round", "show", "1", "5"}).err, "error: run 1 has no round 5; its newest is 0\n");
}

// A run whose round 2 rolled back to the base model and is weighed.
v1::RunStatus RolledBack() {
  v1::RunStatus status = MakeRun(4, "shapes", v1::RUN_STATE_ACTIVE);
  status.mutable_run()->mutable_spec()->mutable_weights()->set_method(v1::WEIGHT_METHOD_GAUSSIAN);
  status.mutable_run()->mutable_spec()->mutable_scorers(0)->set_role(v1::SCORER_ROLE_SELECTION);
  for (uint32_t number : {1, 2}) {
    v1::RoundRecord& round = *status.add_rounds();
    round.set_round(number);
    round.set_starts_from(0);
    round.set_started_us(1'000'000);
    v1::SelectionSummary& selection = *round.mutable_selection();
    selection.set_samples(96);
    selection.set_selected(24);
    selection.set_prompts(24);
    selection.set_selected_reward_mean(0.5);
  }
  v1::RoundRecord& done = *status.mutable_rounds(1);
  done.set_phase(v1::ROUND_PHASE_DONE);
  done.mutable_selection()->set_effective_sample_size(18.25);
  done.mutable_selection()->set_clipped_share(0.125);
  done.mutable_selection()->set_distance_mean(0.75);
  done.mutable_train()->set_steps(40);
  done.mutable_train()->set_generations(1);
  done.set_checkpoint("abc");
  done.mutable_evaluation()->set_complete(true);
  done.mutable_evaluation()->set_diversity(0.25);
  done.mutable_evaluation()->set_frechet(1.5);
  (*done.mutable_evaluation()->mutable_scores())["clip"].set_mean(0.5);
  status.mutable_rounds(2)->set_phase(v1::ROUND_PHASE_WEIGHT);
  return status;
}

TEST_F(Commands, ShowsWhatARoundSelectedTrainedAndScored) {
  {
    absl::MutexLock lock(&fake.mutex);
    fake.runs.push_back(RolledBack());
  }
  EXPECT_EQ(line.Run({"round", "show", "4", "1"}).out,
            "run        4 shapes\n"
            "round      1\n"
            "phase      done\n"
            "started    1970-01-01 00:00:01 UTC\n"
            "starts at  round 0 (the base model)\n"
            "selected   24 of 96 samples, 24 prompts, 0 of them with none\n"
            "reward     0.0000 over all samples, 0.5000 over the selected\n"
            "weights    effective sample size 18.2, 12.5 % clipped, mean distance 0.750\n"
            "training   40 steps in 0.0 s, loss 0.0000 to 0.0000, 1 membership(s)\n"
            "checkpoint abc\n"
            "evaluation diversity 0.2500, Frechet distance 1.5000\n"
            "\n"
            "scorer        evaluation  all samples  kept\n"
            "clip    0.5000 +- 0.0000            -     -\n");
  EXPECT_EQ(line.Run({"round", "show", "4", "2"}).out,
            "run        4 shapes\n"
            "round      2\n"
            "phase      weight\n"
            "started    1970-01-01 00:00:01 UTC\n"
            "starts at  round 0 (the base model), rolled back\n"
            "selected   24 of 96 samples, 24 prompts, 0 of them with none\n"
            "reward     0.0000 over all samples, 0.5000 over the selected\n"
            "\n"
            "scorer  evaluation  all samples  kept\n"
            "clip             -            -     -\n");
}

TEST_F(Commands, ShowsWarnings) {
  {
    absl::MutexLock lock(&fake.mutex);
    v1::RunRecord& run = *fake.runs[0].mutable_run();
    run.add_warnings()->set_text("scorer hps has no say in the selection");
    run.set_collapse("round 2 has collapsed: its pictures look alike");
    run.set_reason("round 1 is the best");
  }
  EXPECT_THAT(line.Run({"run", "show", "1"}).out,
              HasSubstr("evaluation samples.\n"
                        "warning: scorer hps has no say in the selection\n"
                        "warning: round 2 has collapsed: its pictures look alike\n"
                        "round 1 is the best\n"));
}

TEST_F(Commands, ListsTheEventsOfARun) {
  {
    absl::MutexLock lock(&fake.mutex);
    for (uint64_t number = 1; number <= 6; ++number) {
      v1::EventRecord& event = fake.events.emplace_back();
      event.set_sequence(number);
      event.set_run_id(number == 4 ? 2 : 1);
      event.set_round(number - 1);
      event.set_time_us(1'000'000);
      event.set_text(absl::StrCat("event ", number));
    }
    fake.events[2].set_worker("w1");
  }
  const CommandOutcome outcome = line.Run({"run", "events", "1"});
  EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_EQ(outcome.out,
            "number  time (UTC)           round  worker  event\n"
            "     1  1970-01-01 00:00:01      -  -       event 1\n"
            "     2  1970-01-01 00:00:01      1  -       event 2\n"
            "     3  1970-01-01 00:00:01      2  w1      event 3\n"
            "     5  1970-01-01 00:00:01      4  -       event 5\n"
            "     6  1970-01-01 00:00:01      5  -       event 6\n");
  const nlohmann::json later = Json(line.Run({"run", "events", "1", "--after", "3", "--json"}));
  ASSERT_EQ(later["events"].size(), 2);
  EXPECT_EQ(later["events"][0]["text"], "event 5");
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

TEST_F(Commands, ABackupIsAskedForOnce) {
  EXPECT_EQ(line.Run({"backup", "--name", "one"}).out, "/backups/one\n");
  {
    absl::MutexLock lock(&fake.mutex);
    fake.failing_backups = 1;
  }
  const CommandOutcome broken = line.Run({"backup", "--name", "two"});
  EXPECT_EQ(broken.code, ExitCode::kUnreachable);
  EXPECT_EQ(broken.err, absl::StrCat("error: the coordinator at ", fake.address(),
                                     " did not confirm the backup, which may be there all the same: Socket "
                                     "closed\n"));
  absl::MutexLock lock(&fake.mutex);
  EXPECT_THAT(fake.backups, testing::ElementsAre("one", "two"));
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

TEST_F(Commands, WorksInAFolderThatHasBeenRemoved) {
  const std::filesystem::path before = std::filesystem::current_path();
  const std::filesystem::path gone = std::filesystem::path(testing::TempDir()) / "removed-folder";
  std::filesystem::create_directories(gone);
  std::filesystem::current_path(gone);
  std::filesystem::remove(gone);
  const CommandOutcome doctor = line.Run({"doctor"});
  const CommandOutcome exported = line.Run({"export", "1", "--round", "0", "--out", "relative"});
  std::filesystem::current_path(before);
  EXPECT_EQ(doctor.code, ExitCode::kOk) << doctor.err;
  EXPECT_THAT(doctor.out, HasSubstr("warn  current folder: is gone: "));
  EXPECT_EQ(exported.code, ExitCode::kFailed);
  EXPECT_THAT(exported.err, HasSubstr("cannot tell the current folder, for relative: "));
}

TEST_F(Commands, AnExceptionIsAnErrorMessage) {
  line.on_sleep = [] { throw std::runtime_error("thrown by a library"); };
  const CommandOutcome outcome = line.Run({"run", "watch", "2"});
  EXPECT_EQ(outcome.code, ExitCode::kFailed);
  EXPECT_THAT(outcome.err, HasSubstr("error: thrown by a library\n"));
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

TEST_F(Commands, AnUnknownCommandIsNamed) {
  const std::pair<std::vector<std::string>, const char*> wrong[] = {
      {{"run", "sumbit", "run.yaml"}, "error: unknown command \"sumbit\"; did you mean \"submit\"?\n"},
      {{"prompts", "--json", "fliter", "x"}, "error: unknown command \"fliter\"; did you mean \"filter\"?\n"},
      {{"frobnicate"}, "error: unknown command \"frobnicate\"; valid commands: run, round, "}};
  for (const auto& [command, told] : wrong) {
    const CommandOutcome outcome = line.Run(command);
    EXPECT_EQ(outcome.code, ExitCode::kUsage);
    EXPECT_THAT(outcome.err, StartsWith(told));
  }
  EXPECT_THAT(line.Run({"run"}).err, HasSubstr("subcommand is required"));
}

TEST_F(Commands, AnAddressWithoutAPortIsAWrongCommandLine) {
  for (const char* address : {"localhost", "http://head:7070", "head:70700"}) {
    line.coordinator = address;
    const CommandOutcome outcome = line.Run({"run", "list"});
    EXPECT_EQ(outcome.code, ExitCode::kUsage) << address;
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("--coordinator"), HasSubstr(address)));
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

TEST_F(Commands, CompletionOffersTheWordsOfTheCommandBeforeTheCursor) {
  const std::filesystem::path script = std::filesystem::path(testing::TempDir()) / "completion.bash";
  ASSERT_TRUE(WriteFileAtomically(script, line.Run({"completion", "bash"}).out).ok());
  // The words that bash is given for an empty word after `typed`.
  const auto offered = [&](const std::string& typed) {
    const absl::StatusOr<std::string> words = RunProgram(
        {"/bin/bash", "-c",
         absl::StrCat("source ", script.string(), "; COMP_WORDS=(rsidiff ", typed,
                      " --); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _rsidiff; echo \" ${COMPREPLY[*]} \"")});
    return words.value_or(std::string(words.status().message()));
  };
  EXPECT_THAT(offered("prompts filter"), AllOf(HasSubstr(" --judge "), HasSubstr(" --out ")));
  EXPECT_THAT(offered("prompts list"), HasSubstr(" --rejected "));
  EXPECT_THAT(offered("run submit"), HasSubstr(" --dry-run "));
  EXPECT_THAT(offered("--coordinator host:1 worker drain"), HasSubstr(" --deadline "));
  EXPECT_THAT(offered("samples"), HasSubstr(" --evaluation "));
}

}  // namespace
}  // namespace rsidiff::coordinator
