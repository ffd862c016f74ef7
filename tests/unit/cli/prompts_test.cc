#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "tests/unit/cli/command_line.h"
#include "tests/unit/cli/fake_coordinator.h"
#include "tests/unit/judge/stub_judge.h"

namespace rsidiff::coordinator {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class PromptCommands : public testing::Test {
 protected:
  PromptCommands() : folder_(fs::temp_directory_path() / absl::StrCat("rsidiff-prompts-", getpid())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    line.coordinator = fake.address();
  }
  ~PromptCommands() override { fs::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& text) {
    EXPECT_TRUE(WriteFileAtomically(folder_ / name, text).ok());
    return (folder_ / name).string();
  }

  std::string Read(const std::string& name) {
    const absl::StatusOr<std::string> text = ReadFile(folder_ / name);
    EXPECT_TRUE(text.ok()) << text.status();
    return text.value_or("");
  }

  const fs::path folder_;
  const std::string shapes_ = std::string(RSIDIFF_SOURCE_DIR) + "/deploy/examples/shapes.yaml";
  FakeCoordinator fake;
  CommandLine line;
};

TEST_F(PromptCommands, FilterWritesWhatItKeepsAndRejects) {
  const std::string file =
      Write("prompts.txt", "a cat <b>\na red blue dog\nA cat <b>.\nsomething nice\na bird\n");
  line.coordinator = "127.0.0.1:1";  // is not even asked
  const CommandOutcome outcome = line.Run({"prompts", "filter", "--out", (folder_ / "out").string(), file});
  EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("contradicts itself"), HasSubstr("says too little"),
                                 HasSubstr("says the same as another"), HasSubstr("40.0 %")));
  EXPECT_EQ(Read("out/kept.txt"), "a cat <b>\na bird\n");
  const std::string text = Read("out/rejected.jsonl");
  const std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 3u);
  const nlohmann::json first = nlohmann::json::parse(lines[0]);
  EXPECT_EQ(first["prompt"], "a red blue dog");
  EXPECT_EQ(first["rejected_by"], "clarity");
  EXPECT_EQ(first["clarity"], 0);
  EXPECT_THAT(Read("out/report.html"), AllOf(HasSubstr("a cat &lt;b&gt;"), Not(HasSubstr("<b>")),
                                             Not(HasSubstr("http")), HasSubstr("Spread of the scores")));
}

TEST_F(PromptCommands, FilterTakesThresholdsAndPrintsJson) {
  const std::string file = Write("prompts.txt", "a red blue dog\nsomething nice\na bird\n");
  const nlohmann::json json = nlohmann::json::parse(
      line.Run({"prompts", "filter", "--clarity", "0", "--specificity", "0", file, "--json"}).out);
  EXPECT_EQ(json["kept"], 3);
  EXPECT_EQ(json["thresholds"]["clarity"], 0);
  EXPECT_EQ(line.Run({"prompts", "filter", "--clarity", "2", file}).code, ExitCode::kUsage);
  EXPECT_EQ(line.Run({"prompts", "filter"}).code, ExitCode::kUsage);
  EXPECT_EQ(line.Run({"prompts", "filter", "/nowhere.txt"}).code, ExitCode::kFailed);
}

StubAnswer DislikesBirds(const StubQuestion& question) {
  const bool bird = question.prompt.find("bird") != std::string::npos;
  return {200, Completion(absl::StrCat("{\"clarity\": ", bird ? 0.2 : 0.9,
                                       ", \"specificity\": 0.8, \"reason\": \"birds\"}"))};
}

TEST_F(PromptCommands, FilterAsksAJudgeAboutWhatTheRulesKeep) {
  StubJudge judge(DislikesBirds);
  const std::string file = Write("prompts.txt", "a cat\na red blue dog\na bird\n");
  const std::vector<std::string> arguments = {"prompts",
                                              "filter",
                                              "--judge",
                                              judge.endpoint(),
                                              "--judge-model",
                                              "m",
                                              "--judge-cache",
                                              (folder_ / "cache").string(),
                                              file};
  std::vector<std::string> first = arguments;
  first.insert(first.end(), {"--out", (folder_ / "out").string()});
  const CommandOutcome outcome = line.Run(first);
  EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("judged unclear"));
  EXPECT_EQ(Read("out/kept.txt"), "a cat\n");
  EXPECT_EQ(judge.questions().size(), 2u);
  const std::string text = Read("out/rejected.jsonl");
  const std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 2u);
  const nlohmann::json bird = nlohmann::json::parse(lines[1]);
  EXPECT_EQ(bird["prompt"], "a bird");
  EXPECT_EQ(bird["rejected_by"], "clarity");
  EXPECT_EQ(bird["reason"], "judged unclear: 0.20; birds");
  EXPECT_EQ(bird["judge"]["specificity"], 0.8);
  line.Run(arguments);
  EXPECT_EQ(judge.questions().size(), 2u) << "answers are kept";
}

TEST_F(PromptCommands, JudgeOfTheRunFileFiltersASubmission) {
  StubJudge judge([](const StubQuestion& question) {
    return StubAnswer{200, Completion(question.prompt.find("red") == std::string::npos
                                          ? R"({"clarity": 1, "specificity": 1})"
                                          : "no comment")};
  });
  const CommandOutcome outcome =
      line.Run({"run", "submit", shapes_, "--set", "prompts.filter.enabled=true", "--set",
                absl::StrCat("prompts.filter.judge.endpoint=", judge.endpoint()), "--set",
                "prompts.filter.judge.model=m", "--set", "prompts.filter.judge.retries=0", "--set",
                "prompts.filter.judge.specificity=0.9", "--judge-cache", (folder_ / "cache").string()});
  ASSERT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("the judge has answered"),
                                 HasSubstr("answers of the judge are unusable"), HasSubstr("no comment")));
  absl::MutexLock lock(&fake.mutex);
  ASSERT_EQ(fake.submitted.size(), 1u);
  const v1::PromptJudgeSpec& stored = fake.submitted[0].spec().prompts().filter().judge();
  EXPECT_EQ(stored.model(), "m");
  EXPECT_EQ(stored.specificity(), 0.9);
  EXPECT_EQ(stored.endpoint(), "") << "a person's, like the key";
  EXPECT_EQ(stored.api_key_variable(), "");
}

TEST_F(PromptCommands, NoJudgeIsAskedForACoordinatorThatIsNotThere) {
  StubJudge judge(DislikesBirds);
  line.coordinator = "127.0.0.1:1";
  const CommandOutcome outcome = line.Run(
      {"run", "submit", shapes_, "--set", absl::StrCat("prompts.filter.judge.endpoint=", judge.endpoint()),
       "--set", "prompts.filter.judge.model=m", "--judge-cache", (folder_ / "cache").string()});
  EXPECT_EQ(outcome.code, ExitCode::kUnreachable) << outcome.err;
  EXPECT_TRUE(judge.questions().empty());
}

TEST_F(PromptCommands, AJudgeThatIsNotThereStopsTheSubmission) {
  const CommandOutcome outcome = line.Run(
      {"run", "submit", shapes_, "--set", "prompts.filter.enabled=true", "--set",
       "prompts.filter.judge.endpoint=http://127.0.0.1:1/v1", "--set", "prompts.filter.judge.model=m",
       "--set", "prompts.filter.judge.retries=0", "--judge-cache", (folder_ / "cache").string()});
  EXPECT_EQ(outcome.code, ExitCode::kUnreachable) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("judge m at http://127.0.0.1:1/v1: no connection"));
  absl::MutexLock lock(&fake.mutex);
  EXPECT_TRUE(fake.submitted.empty());
}

TEST_F(PromptCommands, JudgeNeedsAModel) {
  const std::string file = Write("prompts.txt", "a cat\n");
  const CommandOutcome outcome = line.Run({"prompts", "filter", "--judge", "http://h/v1", file});
  EXPECT_EQ(outcome.code, ExitCode::kUsage);
  EXPECT_THAT(outcome.err, HasSubstr("--judge needs --judge-model"));
}

TEST_F(PromptCommands, FilterReadsTheRunFile) {
  const nlohmann::json json = nlohmann::json::parse(
      line.Run({"prompts", "filter", "--run", shapes_, "--diversity", "0", "--json"}).out);
  EXPECT_EQ(json["prompts"], 2000);
  EXPECT_EQ(json["rejected"]["diversity"], 0);
}

TEST_F(PromptCommands, KeepsLinesOfAPromptTogether) {
  const std::string file = Write("prompts.json", R"(["a bird\non a wall", "a cat"])");
  EXPECT_EQ(line.Run({"prompts", "filter", "--out", (folder_ / "out").string(), file}).code, ExitCode::kOk);
  EXPECT_EQ(nlohmann::json::parse(Read("out/kept.json")), nlohmann::json({"a bird\non a wall", "a cat"}));
}

TEST_F(PromptCommands, SubmissionFiltersTrainingPromptsOnly) {
  const CommandOutcome outcome = line.Run({"run", "submit", shapes_, "--set", "prompts.filter.enabled=true"});
  ASSERT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("of 2000 training prompts"));
  absl::MutexLock lock(&fake.mutex);
  ASSERT_EQ(fake.submitted.size(), 1u);
  const v1::RunInputs& inputs = fake.submitted[0].inputs();
  const uint32_t rejected =
      inputs.filtered().clarity() + inputs.filtered().specificity() + inputs.filtered().diversity();
  EXPECT_GT(rejected, 250u);
  EXPECT_EQ(inputs.train_prompts_size() + rejected, 2000u);
  EXPECT_EQ(inputs.evaluation_prompts_size(), 128);
  // What was stored is what `prompts list` shows.
  const absl::StatusOr<std::string> lines = fake.store().Get(inputs.rejected_prompts());
  ASSERT_TRUE(lines.ok()) << lines.status();
  EXPECT_EQ(std::count(lines->begin(), lines->end(), '\n'), rejected);
}

TEST_F(PromptCommands, ListsWhatARunRejected) {
  const absl::StatusOr<std::string> digest = fake.store().Put(
      "{\"prompt\":\"a red blue dog\",\"rejected_by\":\"clarity\",\"reason\":\"contradicts itself\"}\n");
  ASSERT_TRUE(digest.ok());
  {
    absl::MutexLock lock(&fake.mutex);
    v1::RunStatus status;
    status.mutable_run()->set_id(7);
    status.mutable_run()->mutable_spec()->set_name("filtered");
    status.mutable_run()->mutable_inputs()->mutable_filtered()->set_clarity(1);
    status.mutable_run()->mutable_inputs()->set_rejected_prompts(*digest);
    fake.runs = {status};
  }
  EXPECT_THAT(line.Run({"prompts", "list", "filtered", "--rejected"}).out,
              AllOf(HasSubstr("a red blue dog"), HasSubstr("contradicts itself")));
  const nlohmann::json json =
      nlohmann::json::parse(line.Run({"prompts", "list", "7", "--rejected", "--json"}).out);
  EXPECT_EQ(json[0]["prompt"], "a red blue dog");
  EXPECT_THAT(line.Run({"run", "show", "7"}).out, HasSubstr("rejected 1 training prompts by clarity"));
  EXPECT_EQ(line.Run({"prompts", "list", "7"}).code, ExitCode::kUsage);
}

TEST_F(PromptCommands, ARunWithoutPromptsIsNotSubmitted) {
  const CommandOutcome outcome =
      line.Run({"run", "submit", shapes_, "--set", "prompts.filter.specificity=1000"});
  EXPECT_EQ(outcome.code, ExitCode::kUsage);
  EXPECT_THAT(outcome.err, HasSubstr("rejects all 2000 training prompts"));
}

}  // namespace
}  // namespace rsidiff::coordinator
