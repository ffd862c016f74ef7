// Prompts of public sets are good ones: what is rejected of them has been read.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "coordinator/prompt/filter.h"
#include "coordinator/prompt/source.h"

namespace rsidiff::coordinator {
namespace {

using testing::IsEmpty;
using testing::Pair;
using testing::UnorderedElementsAre;

constexpr const char* kSets[] = {"PartiPrompts.tsv", "HPD_prompt.csv", "hpsv2_photo_eval50.txt",
                                 "imagereward_benchmark100.json"};

std::vector<std::string> Prompts(const std::string& set) {
  const absl::StatusOr<LoadedPrompts> list =
      ReadPromptFiles({absl::StrCat(RSIDIFF_SOURCE_DIR, "/deploy/examples/prompts/", set)});
  EXPECT_TRUE(list.ok()) << list.status();
  return list.ok() ? list->prompts : std::vector<std::string>();
}

/// The rejected prompts of a pool and the reasons.
std::map<std::string, std::string> Rejected(const std::vector<std::string>& prompts) {
  std::map<std::string, std::string> rejected;
  const std::vector<JudgedPrompt> judged = FilterPrompts(prompts, {});
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (judged[i].verdict != Verdict::kKept) rejected[prompts[i]] = judged[i].reason;
  }
  return rejected;
}

TEST(PublicPrompts, ThreeOfPartiPromptsAreThereTwice) {
  const std::string cow =
      "a blue cow is standing next to a tree with red leaves and yellow fruit. the cow is standing in a "
      "field "
      "with white flowers. impressionistic painting";
  EXPECT_THAT(Rejected(Prompts("PartiPrompts.tsv")),
              UnorderedElementsAre(
                  Pair("a chair", "says the same as another: \"chair\""),
                  Pair("the Earth", "says the same as another: \"earth\""),
                  Pair(absl::StrCat(cow, "."), absl::StrCat("says the same as another: \"", cow, "\""))));
}

TEST(PublicPrompts, NoneOfTheOthersIsRejected) {
  EXPECT_THAT(Rejected(Prompts("HPD_prompt.csv")), IsEmpty());
  EXPECT_THAT(Rejected(Prompts("hpsv2_photo_eval50.txt")), IsEmpty());
  EXPECT_THAT(Rejected(Prompts("imagereward_benchmark100.json")), IsEmpty());
}

// No other prompt vouches for a word, and in small letters no capital does.
TEST(PublicPrompts, NoneIsRejectedByItself) {
  for (const char* set : kSets) {
    for (const std::string& prompt : Prompts(set)) {
      EXPECT_THAT(Rejected({prompt}), IsEmpty());
      EXPECT_THAT(Rejected({absl::AsciiStrToLower(prompt)}), IsEmpty());
    }
  }
}

}  // namespace
}  // namespace rsidiff::coordinator
