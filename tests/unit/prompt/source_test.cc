#include "coordinator/prompt/source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string>
#include <unordered_set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace rsidiff::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::filesystem::path DataFile(const std::string& name) {
  return std::filesystem::path(RSIDIFF_SOURCE_DIR) / "deploy/examples/prompts" / name;
}

LoadedPrompts Read(const std::string& name) {
  absl::StatusOr<LoadedPrompts> list = ReadPromptFiles({DataFile(name)});
  EXPECT_TRUE(list.ok()) << list.status();
  return list.ok() ? *list : LoadedPrompts{};
}

std::string ErrorOf(const std::string& text, const std::string& path) {
  const absl::StatusOr<LoadedPrompts> list = ParsePrompts(text, path);
  EXPECT_FALSE(list.ok());
  return std::string(list.status().message());
}

TEST(PromptSource, ReadsPartiPromptsWithoutQuoting) {
  const LoadedPrompts list = Read("PartiPrompts.tsv");
  ASSERT_THAT(list.prompts, SizeIs(1632));
  EXPECT_EQ(list.prompts.front(), "bond");
  EXPECT_EQ(list.duplicates, 0);
  const auto quoted = std::count_if(list.prompts.begin(), list.prompts.end(),
                                    [](const std::string& p) { return absl::StrContains(p, "\""); });
  EXPECT_EQ(quoted, 22);
}

TEST(PromptSource, TakesEverythingAfterTheFirstCommaOfHpd) {
  const LoadedPrompts list = Read("HPD_prompt.csv");
  EXPECT_EQ(list.prompts.size() + list.duplicates, 400);
  EXPECT_EQ(list.prompts[1],
            "An anime man in flight uniform with hyper detailed digital artwork and an art style inspired by "
            "Klimt, Nixeu, Ian Sprigger, Wlop, and Krenz Cushart.");
}

TEST(PromptSource, ReadsTextAndJson) {
  EXPECT_THAT(Read("hpsv2_photo_eval50.txt").prompts, SizeIs(50));
  const LoadedPrompts json = Read("imagereward_benchmark100.json");
  EXPECT_THAT(json.prompts, SizeIs(100));
  EXPECT_EQ(json.prompts.front(), "a concept art of a vehicle, cyberpunk");
}

TEST(PromptSource, SkipsBlankLinesAndDropsDuplicates) {
  const auto list = ParsePrompts("\xEF\xBB\xBF one \r\n\r\n  \ntwo\none\n\tone\n", "p.txt");
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_THAT(list->prompts, ElementsAre("one", "two"));
  EXPECT_EQ(list->duplicates, 2);
}

TEST(PromptSource, DropsDuplicatesAcrossFiles) {
  const auto list = ReadPromptFiles({DataFile("hpsv2_photo_eval50.txt"), DataFile("hpsv2_photo_eval50.txt")});
  ASSERT_TRUE(list.ok());
  EXPECT_THAT(list->prompts, SizeIs(50));
  EXPECT_EQ(list->duplicates, 50);
}

TEST(PromptSource, TellsHeadersFromPrompts) {
  EXPECT_THAT(ParsePrompts("a cat\tAnimals\na dog\n", "p.tsv")->prompts, ElementsAre("a cat", "a dog"));
  EXPECT_THAT(ParsePrompts("TEXT\tx\na dog\n", "p.tsv")->prompts, ElementsAre("a dog"));
  EXPECT_THAT(ParsePrompts("0,a, b\n1,\"c\"\n", "p.csv")->prompts, ElementsAre("a, b", "\"c\""));
}

TEST(PromptSource, TakesTheColumnThatTheHeaderNames) {
  EXPECT_THAT(
      ParsePrompts("line\tlabel\tPrompt\n1\tclean\ta cat\n2\tvague\ta dog\textra\n", "p.tsv")->prompts,
      ElementsAre("a cat", "a dog"));
  EXPECT_EQ(ErrorOf("id\tprompt\n1\ta cat\n2\n", "p.tsv"),
            "p.tsv:3: 1 columns; the header names column 2 for the prompt");
  EXPECT_THAT(ParsePrompts("prompt\na cat, red\na dog\n", "p.csv")->prompts,
              ElementsAre("a cat, red", "a dog"));
  EXPECT_THAT(ParsePrompts("id,caption\nx7,a cat, red\nx8,a dog\n", "p.csv")->prompts,
              ElementsAre("a cat, red", "a dog"));
  EXPECT_THAT(ParsePrompts("0,text\n1,a cat\n", "p.csv")->prompts, ElementsAre("text", "a cat"));
  EXPECT_THAT(ParsePrompts("number,words\n0,a cat\n", "p.csv")->prompts, ElementsAre("a cat"));
}

TEST(PromptSource, ReadsTheLabelledPromptsOfTheExample) {
  const auto list =
      ReadPromptFiles({std::string(RSIDIFF_SOURCE_DIR) + "/deploy/examples/shapes/prompts/train.labels.tsv"});
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_THAT(list->prompts, SizeIs(2000));
  EXPECT_EQ(list->prompts.front(),
            "a huge yellow cross to the right of a yellow triangle against a cream background");
}

TEST(PromptSource, RefusesACsvOfOtherColumns) {
  EXPECT_THAT(ErrorOf("a cat, red\na dog, blue\n", "p.csv"),
              HasSubstr("p.csv:2: the row begins with no number"));
  EXPECT_THAT(ErrorOf("0,a cat\na dog, blue\n", "p.csv"),
              HasSubstr("p.csv:2: the row begins with no number"));
  EXPECT_THAT(ErrorOf("prompt,kind\na cat, red,x\n", "p.csv"),
              HasSubstr("p.csv:2: the header names column 1 of 2 for the prompt"));
  EXPECT_THAT(ErrorOf("id,kind,prompt\n1,x,a cat\n", "p.csv"),
              HasSubstr("p.csv:2: the header names column 3 of 3 for the prompt"));
  EXPECT_EQ(
      ErrorOf("id,prompt,kind\n1,a cat,x\n2,a dog, red,y\n", "p.csv"),
      "p.csv: every row fills the 3 columns of the header; a row is INDEX,PROMPT, since prompts hold commas");
  EXPECT_THAT(ParsePrompts("id,prompt,kind\n1,a cat, red\n2,a dog\n", "p.csv")->prompts,
              ElementsAre("a cat, red", "a dog"));
}

TEST(PromptSource, BlankLinesBeforeAHeaderAreNoPrompts) {
  EXPECT_THAT(ParsePrompts("\n \nCategory\tPrompt\nAnimals\ta dog\n", "p.tsv")->prompts,
              ElementsAre("a dog"));
  EXPECT_THAT(ParsePrompts("\r\nprompt\r\na cat, red\r\n", "p.csv")->prompts, ElementsAre("a cat, red"));
}

TEST(PromptSource, WarnsOfACsvThatIsQuoted) {
  const auto list = ParsePrompts("0,\"a cat, red\"\n1,\"a dog\"\n2,a cow\n", "p.csv");
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_THAT(list->prompts, ElementsAre("\"a cat, red\"", "\"a dog\"", "a cow"));
  EXPECT_THAT(list->warnings,
              ElementsAre("p.csv: most prompts are in double quotes, which are kept: a .csv is "
                          "read without quoting"));
  EXPECT_THAT(Read("HPD_prompt.csv").warnings, IsEmpty());
}

TEST(PromptSource, ReadsEveryJsonForm) {
  const auto list =
      ParsePrompts(R"(["a", {"caption": "b"}, {"text": "c", "id": 1}, {"prompt": "d"}, ""])", "p.json");
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_THAT(list->prompts, ElementsAre("a", "b", "c", "d"));
}

TEST(PromptSource, NamesFileAndLineOfAnError) {
  EXPECT_EQ(ErrorOf("a\nb\xFF\n", "d/p.txt"), "d/p.txt:2: not valid UTF-8");
  EXPECT_EQ(ErrorOf(std::string("a\nb\n\0c", 6), "p.txt"), "p.txt:3: a zero byte; this is not a text file");
  EXPECT_EQ(ErrorOf("index,caption\n0,a\nnothing\n", "p.csv"), "p.csv:3: no comma; a row is INDEX,PROMPT");
  EXPECT_EQ(ErrorOf("[\n\"a\",\n}", "p.json"), "p.json:3: not valid JSON");
  EXPECT_EQ(ErrorOf("{\"a\": 1}", "p.json"), "p.json: not a JSON list");
  EXPECT_EQ(ErrorOf("[\"a\", 5]", "p.json"),
            "p.json: element 2 is neither a text nor an object with a text under prompt, caption or text");
  EXPECT_EQ(ErrorOf(R"(["a", "b\u0000c"])", "p.json"), "p.json: element 2: the prompt has a zero byte");
  EXPECT_EQ(ErrorOf("a\n", "p.md"), "p.md: a prompt file ends in .txt, .tsv, .csv or .json");
}

TEST(PromptSource, RefusesAFileWithoutPrompts) {
  EXPECT_EQ(ErrorOf("", "p.txt"), "p.txt: no prompt in the file");
  EXPECT_EQ(ErrorOf("\n \n", "p.txt"), "p.txt: no prompt in the file");
  EXPECT_EQ(ErrorOf("Prompt\tCategory\n", "p.tsv"), "p.tsv: no prompt in the file");
  EXPECT_EQ(ErrorOf("[]", "p.json"), "p.json: no prompt in the file");
}

TEST(PromptSource, TakesAPromptOf10000CharactersWithAWarning) {
  const auto list = ParsePrompts(absl::StrCat("short\n", std::string(10'000, 'x')), "p.txt");
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_THAT(list->prompts, SizeIs(2));
  EXPECT_THAT(list->warnings,
              ElementsAre("p.txt:2: the prompt has 10000 characters; the text encoder reads 77 "
                          "tokens and drops the rest"));
  EXPECT_THAT(ErrorOf(std::string(kMaxPromptBytes + 1, 'x'), "p.txt"),
              HasSubstr("p.txt:1: the prompt has 65537 bytes; the limit is 65536"));
}

TEST(PromptSource, NamesAMissingFile) {
  const auto list = ReadPromptFiles({"/nowhere/p.txt"});
  EXPECT_EQ(list.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(list.status().message()), HasSubstr("/nowhere/p.txt"));
}

TEST(PromptSource, MutatedFilesGiveDistinctPromptsOrAnError) {
  std::mt19937 random(7);
  const std::string seeds[] = {R"(["a", {"caption": "b"}, [[{"x": null}]]])", "0,a\n1,b, c\n",
                               "Prompt\tX\na\tb\n"};
  const std::string endings[] = {"p.json", "p.csv", "p.tsv"};
  for (int round = 0; round < 3000; ++round) {
    std::string text = seeds[round % 3];
    for (int edit = 0; edit < 4; ++edit) {
      const size_t at = random() % (text.size() + 1);
      if (random() % 2 == 0)
        text.insert(at, 1, static_cast<char>(random() % 256));
      else
        text.erase(at, random() % 3);
      if (text.empty()) text = " ";
    }
    const auto list = ParsePrompts(text, endings[round % 3]);
    if (!list.ok()) continue;
    EXPECT_THAT(list->prompts, testing::Not(IsEmpty()));
    EXPECT_EQ(std::unordered_set<std::string>(list->prompts.begin(), list->prompts.end()).size(),
              list->prompts.size());
  }
  EXPECT_FALSE(ParsePrompts(std::string(200'000, '['), "p.json").ok());
}

}  // namespace
}  // namespace rsidiff::coordinator
