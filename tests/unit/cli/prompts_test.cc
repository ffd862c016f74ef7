#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "tests/unit/cli/command_line.h"
#include "tests/unit/cli/fake_coordinator.h"
#include "tests/unit/judge/stub_judge.h"

namespace rsidiff::coordinator {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAreArray;
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

  std::vector<nlohmann::json> ReadLines(const std::string& name) {
    const std::string text = Read(name);
    std::vector<nlohmann::json> lines;
    for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      lines.push_back(nlohmann::json::parse(line));
    }
    return lines;
  }

  // `prompts filter` with what `judge` asks.
  CommandOutcome Filter(const StubJudge& judge, const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {
        "prompts",       "filter", "--judge",       judge.endpoint(),
        "--judge-model", "m",      "--judge-cache", (folder_ / "cache").string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return line.Run(arguments);
  }

  const fs::path folder_;
  const std::string shapes_ = std::string(RSIDIFF_SOURCE_DIR) + "/deploy/examples/shapes.yaml";
  FakeCoordinator fake;
  CommandLine line;
};

TEST_F(PromptCommands, FilterWritesWhatItKeepsAndRejects) {
  const std::string file =
      Write("prompts.txt", "a cat <b>\na red blue circle\nA cat <b>.\nsomething nice\na bird\n");
  line.coordinator = "127.0.0.1:1";  // is not even asked
  const CommandOutcome outcome = line.Run({"prompts", "filter", "--out", (folder_ / "out").string(), file});
  EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("contradicts itself"), HasSubstr("says too little"),
                                 HasSubstr("says the same as another"), HasSubstr("40.0 %")));
  EXPECT_EQ(Read("out/kept.txt"), "a cat <b>\na bird\n");
  const std::vector<nlohmann::json> lines = ReadLines("out/prompts.jsonl");
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[0]["prompt"], "a cat <b>");
  EXPECT_EQ(lines[0]["rejected_by"], nullptr);
  EXPECT_EQ(lines[0]["reason"], "");
  EXPECT_EQ(lines[0]["clarity"], 1);
  EXPECT_GT(lines[0]["specificity"], 1);
  EXPECT_EQ(lines[0]["diversity"], 1);
  EXPECT_FALSE(lines[0].contains("judge"));
  EXPECT_EQ(lines[1]["prompt"], "a red blue circle");
  EXPECT_EQ(lines[1]["rejected_by"], "clarity");
  EXPECT_THAT(lines[1]["reason"].get<std::string>(), HasSubstr("red blue"));
  EXPECT_EQ(lines[1]["clarity"], 0);
  EXPECT_EQ(lines[2]["rejected_by"], "diversity");
  EXPECT_EQ(lines[2]["reason"], "says the same as another: \"a cat <b>\"");
  EXPECT_EQ(lines[2]["diversity"], 0);
  EXPECT_EQ(lines[3]["rejected_by"], "specificity");
  EXPECT_LT(lines[3]["specificity"], 1);
  EXPECT_EQ(lines[4]["prompt"], "a bird");
  EXPECT_EQ(lines[4]["rejected_by"], nullptr);
}

TEST_F(PromptCommands, ReportShowsThePromptsWithTheirScores) {
  const std::string file =
      Write("prompts.txt", "a cat <b>\na red blue circle\nA cat <b>.\nsomething nice\na bird\n");
  ASSERT_EQ(line.Run({"prompts", "filter", "--out", (folder_ / "out").string(), file}).code, ExitCode::kOk);
  const std::string html = Read("out/report.html");
  EXPECT_THAT(html, AllOf(Not(HasSubstr("<b>")), Not(HasSubstr("http"))));
  const auto row = [](std::initializer_list<const char*> cells) {
    return HasSubstr(absl::StrCat("<tr><td>", absl::StrJoin(cells, "</td><td>"), "</td>"));
  };
  const std::vector<std::string> parts = absl::StrSplit(html, "<h2>");
  ASSERT_EQ(parts.size(), 8u);
  EXPECT_THAT(parts[0], AllOf(row({"kept", "", "2", "40.0 %", "a cat &lt;b&gt;"}),
                              row({"clarity", "contradicts itself", "1", "20.0 %", "a red blue circle"}),
                              row({"diversity", "says the same as another", "1", "20.0 %"}),
                              row({"all", "", "5", "100.0 %"})));
  EXPECT_THAT(parts[1], AllOf(HasSubstr("Spread of the scores"), row({"clarity", "0.7", "0.00"}),
                              row({"specificity", "1", "0.00"}), row({"diversity", "0.1", "0.00"})));
  EXPECT_THAT(parts[2], AllOf(HasSubstr("clarity: contradicts itself"), row({"a red blue circle", "0.00"})));
  EXPECT_THAT(parts[3],
              AllOf(HasSubstr("specificity: says too little"), row({"something nice", "1.00", "0.0"})));
  EXPECT_THAT(parts[4], AllOf(HasSubstr("diversity: says the same"), row({"A cat &lt;b&gt;.", "1.00"})));
  for (size_t i = 5; i < 8; ++i) {
    EXPECT_THAT(parts[i], AllOf(HasSubstr("Kept with the least"), row({"a cat &lt;b&gt;", "1.00"}),
                                row({"a bird", "1.00"}), Not(HasSubstr("circle"))));
  }
}

TEST_F(PromptCommands, FilterTakesThresholdsAndPrintsJson) {
  const std::string file = Write("prompts.txt", "a red blue circle\nsomething nice\na bird\n");
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
  const std::string file = Write("prompts.txt", "a cat\na red blue circle\na bird\n");
  const CommandOutcome outcome = Filter(judge, {"--out", (folder_ / "out").string(), file});
  EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("judged unclear"));
  EXPECT_EQ(Read("out/kept.txt"), "a cat\n");
  EXPECT_EQ(judge.questions().size(), 2u);
  const std::vector<nlohmann::json> lines = ReadLines("out/prompts.jsonl");
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0]["rejected_by"], nullptr);
  EXPECT_EQ(lines[0]["judge"], nlohmann::json({{"clarity", 0.9}, {"specificity", 0.8}, {"reason", "birds"}}));
  EXPECT_FALSE(lines[1].contains("judge")) << "was not asked about";
  const nlohmann::json& bird = lines[2];
  EXPECT_EQ(bird["prompt"], "a bird");
  EXPECT_EQ(bird["rejected_by"], "clarity");
  EXPECT_EQ(bird["reason"], "judged unclear: 0.20; birds");
  EXPECT_EQ(bird["judge"]["specificity"], 0.8);
  Filter(judge, {file});
  EXPECT_EQ(judge.questions().size(), 2u) << "answers are kept";
}

TEST_F(PromptCommands, NoPromptGoesForOneThatTheJudgeRejects) {
  StubJudge judge([](const StubQuestion& question) {
    const bool bad = question.prompt == "a red bird on a wall";
    return StubAnswer{200, Completion(absl::StrCat("{\"clarity\": ", bad ? 0 : 1, ", \"specificity\": 1}"))};
  });
  const std::string file = Write("prompts.txt", "a red bird on a wall\na red bird on a wall outside\n");
  const CommandOutcome outcome =
      Filter(judge, {"--diversity", "0.5", "--out", (folder_ / "out").string(), file});
  EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_EQ(Read("out/kept.txt"), "a red bird on a wall outside\n");
  EXPECT_EQ(ReadLines("out/prompts.jsonl")[0]["rejected_by"], "clarity");
  EXPECT_EQ(judge.questions().size(), 2u);
}

TEST_F(PromptCommands, OptionsReachTheJudge) {
  setenv("RSIDIFF_TEST_PROMPTS_KEY", "k", 1);
  StubJudge judge(DislikesBirds);
  const std::string file = Write("prompts.txt", "a cat\n");
  const CommandOutcome outcome =
      Filter(judge, {"--judge-rubric", Write("rubric.txt", "be brief"), "--judge-key-variable",
                     "RSIDIFF_TEST_PROMPTS_KEY", "--judge-clarity", "0.95", file});
  EXPECT_THAT(outcome.out, HasSubstr("judged unclear")) << outcome.err;
  ASSERT_EQ(judge.questions().size(), 1u);
  EXPECT_EQ(judge.questions()[0].rubric, "be brief");
  EXPECT_EQ(judge.questions()[0].authorization, "Bearer k");
  EXPECT_THAT(Filter(judge, {"--judge-specificity", "0.85", file}).out, HasSubstr("judged vague"));
  EXPECT_EQ(Filter(judge, {"--judge-clarity", "2", file}).code, ExitCode::kUsage);
  EXPECT_EQ(Filter(judge, {"--judge-parallel", "0", file}).code, ExitCode::kUsage);
}

TEST_F(PromptCommands, AJudgeThatOnlyTalksNonsenseFailsTheCommand) {
  StubJudge judge([](const StubQuestion&) { return StubAnswer{200, Completion("What a lovely prompt!")}; });
  const CommandOutcome outcome = Filter(judge, {"--judge-retries", "0", Write("prompts.txt", "a cat\n")});
  EXPECT_EQ(outcome.code, ExitCode::kFailed);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("not one of 1 answers is usable"),
                                 HasSubstr("What a lovely prompt!"), HasSubstr(judge.endpoint())));
  EXPECT_EQ(judge.questions().size(), 1u);
}

TEST_F(PromptCommands, AJudgeThatAnswersTooLateIsUnreachable) {
  StubJudge judge([](const StubQuestion&) { return StubAnswer{200, Completion("{}"), "", 600}; });
  const CommandOutcome outcome =
      Filter(judge, {"--judge-timeout", "0.2", "--judge-retries", "0", Write("prompts.txt", "a cat\n")});
  EXPECT_EQ(outcome.code, ExitCode::kUnreachable);
  EXPECT_THAT(outcome.err, HasSubstr("no answer within 200ms"));
}

TEST_F(PromptCommands, WhatIsInTheWayOfTheResultIsToldBeforeTheJudgeIsAsked) {
  StubJudge judge(DislikesBirds);
  Write("old.txt", "precious");
  const CommandOutcome outcome = Filter(judge, {"--out", folder_.string(), Write("prompts.txt", "a cat\n")});
  EXPECT_EQ(outcome.code, ExitCode::kFailed);
  EXPECT_THAT(outcome.err, HasSubstr("there is something already"));
  EXPECT_TRUE(judge.questions().empty());
}

TEST_F(PromptCommands, OptionsOfAJudgeNeedOne) {
  const std::string file = Write("prompts.txt", "a cat\n");
  for (const std::vector<std::string>& option : std::vector<std::vector<std::string>>{
           {"--judge-model", "m"}, {"--judge-rubric", file}, {"--judge-timeout", "5"}}) {
    for (const std::vector<std::string>& run :
         std::vector<std::vector<std::string>>{{}, {"--run", shapes_}}) {
      std::vector<std::string> arguments = {"prompts", "filter", file};
      arguments.insert(arguments.end(), option.begin(), option.end());
      arguments.insert(arguments.end(), run.begin(), run.end());
      const CommandOutcome outcome = line.Run(arguments);
      EXPECT_EQ(outcome.code, ExitCode::kUsage) << option[0];
      EXPECT_THAT(outcome.err, HasSubstr("need --judge")) << option[0];
    }
  }
}

TEST_F(PromptCommands, CommandLineGoesOverTheRunFilesJudge) {
  StubJudge judge(DislikesBirds);
  const CommandOutcome outcome = line.Run(
      {"prompts", "filter", "--run", shapes_, "--set",
       absl::StrCat("prompts.filter.judge.endpoint=", judge.endpoint()), "--set",
       "prompts.filter.judge.model=m", "--set", "prompts.filter.judge.specificity=0.85", "--judge-model",
       "other", "--judge-cache", (folder_ / "cache").string(), Write("prompts.txt", "a cat\n")});
  EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("judged vague"));
  ASSERT_EQ(judge.questions().size(), 1u);
  EXPECT_EQ(judge.questions()[0].model, "other");
}

TEST_F(PromptCommands, AFilterThatIsOffInTheRunFileKeepsEverything) {
  StubJudge judge(DislikesBirds);
  const std::string file = Write("prompts.txt", "a red blue circle\nsomething nice\na bird\n");
  std::vector<std::string> arguments = {
      "prompts", "filter",
      file,      "--json",
      "--run",   shapes_,
      "--set",   "prompts.filter.enabled=false",
      "--set",   absl::StrCat("prompts.filter.judge.endpoint=", judge.endpoint()),
      "--set",   "prompts.filter.judge.model=m"};
  const CommandOutcome outcome = line.Run(arguments);
  EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_EQ(nlohmann::json::parse(outcome.out)["kept"], 3);
  EXPECT_TRUE(judge.questions().empty());
  EXPECT_THAT(outcome.err, HasSubstr("filter is off"));
  arguments.insert(arguments.end(), {"--clarity", "0.7"});
  EXPECT_EQ(nlohmann::json::parse(line.Run(arguments).out)["rejected"]["clarity"], 1);
}

TEST_F(PromptCommands, FilterWarnsAboutWhatTheTextEncoderDrops) {
  const std::string file = Write("prompts.txt", absl::StrCat("a ", std::string(9'998, 'x'), "\na cat\n"));
  const CommandOutcome outcome = line.Run({"prompts", "filter", file});
  EXPECT_EQ(outcome.code, ExitCode::kOk);
  EXPECT_THAT(outcome.err, HasSubstr(absl::StrCat("warning: ", file, ":1: the prompt has 10000 characters")));
}

TEST_F(PromptCommands, FilterExpandsPatterns) {
  Write("a.txt", "a cat\n");
  Write("b.txt", "a bird\n");
  const std::string pattern = (folder_ / "?.txt").string();
  const CommandOutcome outcome = line.Run({"prompts", "filter", pattern, "--json"});
  EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_EQ(nlohmann::json::parse(outcome.out)["prompts"], 2);
  EXPECT_THAT(line.Run({"prompts", "filter", (folder_ / "*.csv").string()}).err,
              HasSubstr(absl::StrCat("no file matches ", (folder_ / "*.csv").string())));
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

TEST_F(PromptCommands, EvaluationPromptsAreNeverFiltered) {
  const std::vector<std::string> bad = {"something nice", "a red blue circle", "a cat on a mat",
                                        "A cat on a mat.", "asdfgh"};
  const std::string file = Write("bad.txt", absl::StrJoin(bad, "\n"));
  EXPECT_EQ(nlohmann::json::parse(line.Run({"prompts", "filter", file, "--json"}).out)["kept"], 1);
  const CommandOutcome outcome = line.Run({"run", "submit", shapes_, "--set", "prompts.filter.enabled=true",
                                           "--set", absl::StrCat("prompts.evaluation=[", file, "]")});
  ASSERT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  absl::MutexLock lock(&fake.mutex);
  ASSERT_EQ(fake.submitted.size(), 1u);
  EXPECT_THAT(fake.submitted[0].inputs().evaluation_prompts(), ElementsAreArray(bad));
}

TEST_F(PromptCommands, ListsWhatARunRejected) {
  const absl::StatusOr<std::string> digest = fake.store().Put(
      "{\"prompt\":\"a red blue circle\",\"rejected_by\":\"clarity\",\"reason\":\"contradicts itself\"}\n");
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
              AllOf(HasSubstr("a red blue circle"), HasSubstr("contradicts itself")));
  const nlohmann::json json =
      nlohmann::json::parse(line.Run({"prompts", "list", "7", "--rejected", "--json"}).out);
  EXPECT_EQ(json[0]["prompt"], "a red blue circle");
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
