#include "coordinator/prompt/filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "coordinator/prompt/source.h"

namespace rsidiff::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> ShapesPrompts() {
  const absl::StatusOr<LoadedPrompts> list =
      ReadPromptFiles({std::string(RSIDIFF_SOURCE_DIR) + "/deploy/examples/shapes/prompts/train.txt"});
  EXPECT_TRUE(list.ok()) << list.status();
  return list->prompts;
}

std::map<std::string, std::string> ByText(const std::vector<std::string>& prompts,
                                          const std::vector<JudgedPrompt>& judged) {
  std::map<std::string, std::string> all;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const JudgedPrompt& one = judged[i];
    all[prompts[i]] = absl::StrCat(VerdictName(one.verdict), "|", one.clarity, "|", one.specificity, "|",
                                   one.diversity, "|", one.reason);
  }
  return all;
}

TEST(PromptFilter, DoesNotDependOnTheOrder) {
  std::vector<std::string> prompts = ShapesPrompts();
  const auto expected = ByText(prompts, FilterPrompts(prompts, {}));
  std::mt19937 random(1);
  for (int i = 0; i < 5; ++i) {
    std::shuffle(prompts.begin(), prompts.end(), random);
    EXPECT_EQ(ByText(prompts, FilterPrompts(prompts, {})), expected);
  }
}

// What a run of the example draws depends on the order of what is kept.
TEST(PromptFilter, KeepsThePromptsOfTheExampleInTheSameOrder) {
  const std::vector<std::string> prompts = ShapesPrompts();
  std::string kept;
  size_t count = 0;
  for (const uint32_t i : KeptInOrder(prompts, FilterPrompts(prompts, {}))) {
    absl::StrAppend(&kept, prompts[i], "\n");
    ++count;
  }
  EXPECT_EQ(count, 1719u);
  EXPECT_EQ(Sha256Hex(kept), "b2dd7c732d2e7b17792ea68ddabea69c9042f912b9679ee33a139206546a06f4");
}

TEST(PromptFilter, HigherThresholdsRejectMore) {
  const std::vector<std::string> prompts = ShapesPrompts();
  std::vector<JudgedPrompt> before = FilterPrompts(prompts, {0, 0, 0});
  EXPECT_EQ(CountVerdicts(before).kept, prompts.size());
  for (double step = 0.1; step < 1; step += 0.1) {
    const FilterThresholds thresholds{step, 10 * step, 0};
    const std::vector<JudgedPrompt> now = FilterPrompts(prompts, thresholds);
    for (size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_FALSE(before[i].verdict != Verdict::kKept && now[i].verdict == Verdict::kKept) << prompts[i];
      EXPECT_EQ(before[i].clarity, now[i].clarity);
      EXPECT_EQ(before[i].specificity, now[i].specificity);
    }
    before = now;
  }
  size_t kept = prompts.size();
  for (const double diversity : {0.0, 0.1, 0.2, 0.4, 0.6}) {
    const size_t now = CountVerdicts(FilterPrompts(prompts, {0, 0, diversity})).kept;
    EXPECT_LE(now, kept);
    kept = now;
  }
}

TEST(PromptFilter, NamesTheReason) {
  std::vector<std::string> prompts = ShapesPrompts();
  const size_t first = prompts.size();
  prompts.insert(prompts.end(),
                 {"square a on white background red a", "zqx wvbk rtpl xkcd", "a red red blue circle",
                  "something nice", "two tiny red stars over a cyan ring on beige",
                  "2 little red stars above a turquoise ring on cream, please"});
  const std::vector<JudgedPrompt> judged = FilterPrompts(prompts, {});
  EXPECT_THAT(judged[first].reason, HasSubstr("order of words"));
  EXPECT_THAT(judged[first + 1].reason, HasSubstr("misspelt"));
  EXPECT_THAT(judged[first + 2].reason, HasSubstr("red blue"));
  EXPECT_THAT(judged[first + 3].reason, HasSubstr("says too little"));
  EXPECT_EQ(judged[first + 4].verdict, Verdict::kKept);
  EXPECT_EQ(judged[first + 5].reason,
            "says the same as another: \"two tiny red stars over a cyan ring on beige\"");
  EXPECT_EQ(KindOf(judged[first + 5].reason), "says the same as another");
}

TEST(PromptFilter, KeepsASinglePromptAndOtherScripts) {
  for (const char* prompt :
       {"a cat", "一只猫坐在窗台上", "кошка на окне", "un chat sur la plage", "قطة", "F-16", "2B", "42"}) {
    EXPECT_EQ(FilterPrompts({prompt}, {})[0].verdict, Verdict::kKept) << prompt;
  }
  EXPECT_TRUE(FilterPrompts({}, {}).empty());
}

std::vector<std::string> Kept(const std::vector<std::string>& prompts) {
  const std::vector<JudgedPrompt> judged = FilterPrompts(prompts, {});
  std::vector<std::string> kept;
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (judged[i].verdict == Verdict::kKept) kept.push_back(prompts[i]);
  }
  return kept;
}

TEST(PromptFilter, KeepsOneOfASmallPoolOfDuplicates) {
  EXPECT_THAT(Kept({"a dog", "a dog."}), ElementsAre("a dog"));
  EXPECT_THAT(Kept({"a little dog", "the small dog", "a small dog!"}), ElementsAre("a little dog"));
  EXPECT_THAT(Kept({"a dog", "a dog.", "a cat"}), ElementsAre("a dog", "a cat"));
  EXPECT_THAT(Kept({"a dog", "a cat"}), ElementsAre("a dog", "a cat"));
  EXPECT_THAT(Kept({"a red dog", "a blue dog", "a dog and a cat"}),
              ElementsAre("a red dog", "a blue dog", "a dog and a cat"));
  EXPECT_THAT(Kept({"something nice", "a dog"}), ElementsAre("a dog"));
}

TEST(PromptFilter, DuplicatesDoNotMakeAWordUsual) {
  const double alone = FilterPrompts({"a dog", "a cat", "a bird"}, {})[0].specificity;
  EXPECT_EQ(FilterPrompts({"a dog", "a cat", "a bird", "A dog.", "the dog", "a nice dog"}, {})[0].specificity,
            alone);
  EXPECT_LT(FilterPrompts({"a dog", "a cat", "a bird", "a brown dog"}, {})[0].specificity, alone);
}

TEST(PromptFilter, KeepsNamesAbbreviationsAndModelNumbers) {
  for (const char* prompt : {"Cthulhu",
                             "cthulhu",
                             "Mjolnir",
                             "UFO",
                             "a UFO",
                             "a ufo over nyc at night",
                             "Wlop",
                             "BMW",
                             "NYC",
                             "RPG",
                             "VFX",
                             "NFT",
                             "R2D2",
                             "C3PO",
                             "H2O",
                             "r2d2 and c3po in the desert",
                             "R2D2 in the desert",
                             "wallpaper 1920x1080",
                             "a DSLR",
                             "a dslr photo of a frog",
                             "4k60fps video still",
                             "an rtx3080ti",
                             "A RED CAR IN NYC",
                             "Cthulhu against Mjolnir, Wlop, NFT, VFX",
                             "zdzislaw beksinski",
                             "a qwerty keyboard",
                             "yoyo",
                             "rhythm",
                             "brrrrr, so cold",
                             "https"}) {
    const JudgedPrompt judged = FilterPrompts({prompt}, {})[0];
    EXPECT_EQ(judged.verdict, Verdict::kKept) << prompt << ": " << judged.reason;
  }
}

TEST(PromptFilter, RejectsWhatIsTypedAtRandom) {
  for (const char* prompt : {"asdfgh", "Asdfgh", "ASDFGH", "asdf", "sdkfjh", "zxcvbn", "jhkjhkjh", "8i1qdk1",
                             "a ufo sdkfjh", "qwxz rtpl", "zqx wvbk rtpl xkcd", "csu lbz&84 s4 1ta fn",
                             "m46ton #jn389 belx", "qld2 hk big oggwl", "vy9%4 9lbcrm# 9v jk"}) {
    const JudgedPrompt judged = FilterPrompts({prompt}, {})[0];
    EXPECT_EQ(judged.verdict, Verdict::kUnclear) << prompt;
    EXPECT_THAT(judged.reason, HasSubstr("misspelt or no words")) << prompt;
  }
}

TEST(PromptFilter, TakesAnyBytes) {
  std::mt19937 random(3);
  std::vector<std::string> prompts = {"",
                                      " ",
                                      "\0\0",
                                      "\xFF\xFE",
                                      "\xE2\x80",
                                      "\xE2",
                                      std::string(60'000, 'a'),
                                      std::string(60'000, '#'),
                                      "...",
                                      "\"\"\"",
                                      "' - '"};
  std::string words;
  for (int i = 0; i < 12'000; ++i) words += "a red ";
  prompts.push_back(words);
  for (int i = 0; i < 500; ++i) {
    std::string bytes;
    for (size_t k = random() % 80; k > 0; --k) bytes.push_back(static_cast<char>(random()));
    prompts.push_back(bytes);
  }
  const std::vector<JudgedPrompt> judged = FilterPrompts(prompts, {});
  ASSERT_EQ(judged.size(), prompts.size());
  for (const JudgedPrompt& one : judged) {
    EXPECT_GE(one.clarity, 0);
    EXPECT_LE(one.clarity, 1);
    EXPECT_GE(one.diversity, 0);
    EXPECT_LE(one.diversity, 1);
    EXPECT_EQ(one.verdict == Verdict::kKept, one.reason.empty());
  }
}

TEST(PromptFilter, RejectsRepetitionAndTooLongOnes) {
  std::string longest;
  for (int i = 0; i < 120; ++i)
    absl::StrAppend(&longest, "word", std::string(1, static_cast<char>('a' + i % 26)), " ");
  const std::vector<JudgedPrompt> judged =
      FilterPrompts({"cat cat cat cat", longest, "a very very big dog"}, {});
  EXPECT_THAT(judged[0].reason, HasSubstr("repeats itself"));
  EXPECT_THAT(judged[1].reason, HasSubstr("too long: 120 words"));
  EXPECT_EQ(judged[2].verdict, Verdict::kKept);
}

}  // namespace
}  // namespace rsidiff::coordinator
