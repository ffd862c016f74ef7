#include "worker/command/scorer_argument.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rsidiff::worker {
namespace {

using ::testing::HasSubstr;

TEST(ScorerArgumentTest, TypeIsTheNameUnlessOneIsGiven) {
  const ScorerSource plain = ParseScorerArgument("clipscore=models/clip").value();
  EXPECT_EQ(plain.type, ScorerType::kClipScore);
  EXPECT_EQ(plain.name, "clipscore");
  EXPECT_EQ(plain.folder, "models/clip");
  EXPECT_TRUE(plain.tokenizer.empty());
  EXPECT_EQ(ParseScorerArgument("hps=a,name=taste").value().name, "taste");
}

TEST(ScorerArgumentTest, SettingsInAnyOrder) {
  const ScorerSource source = ParseScorerArgument("aesthetic=head,name=beauty,clip=models/vit").value();
  EXPECT_EQ(source.type, ScorerType::kAesthetic);
  EXPECT_EQ(source.clip, "models/vit");
  EXPECT_EQ(source.name, "beauty");
  EXPECT_EQ(ParseScorerArgument("pickscore=a,tokenizer=b").value().tokenizer, "b");
}

TEST(ScorerArgumentTest, CommasAndEqualSignsMayStandInFolders) {
  const ScorerSource source = ParseScorerArgument("hps=runs/a=1,b=2/hps,tokenizer=x,y").value();
  EXPECT_EQ(source.folder, "runs/a=1,b=2/hps");
  EXPECT_EQ(source.tokenizer, "x,y");
}

TEST(ScorerArgumentTest, ErrorsSayWhatIsWrong) {
  const auto message = [](absl::string_view text) {
    return std::string(ParseScorerArgument(text).status().message());
  };
  EXPECT_THAT(message("beauty=folder"),
              HasSubstr("hpsv2.1, pickscore, clipscore-vit-l-14-cos, aesthetic-v2 and imagereward"));
  EXPECT_THAT(message("clipscore"), HasSubstr("TYPE=DIR"));
  EXPECT_THAT(message(""), HasSubstr("TYPE=DIR"));
  EXPECT_THAT(message("clipscore=a,tokenizer="), HasSubstr("TYPE=DIR"));
  EXPECT_THAT(message("aesthetic=a"), HasSubstr("needs clip="));
  EXPECT_THAT(message("aesthetic=a,clip=b,tokenizer=c"), HasSubstr("no tokenizer"));
  EXPECT_THAT(message("hps=a,clip=b"), HasSubstr("for aesthetic and aesthetic-v2 only"));
}

}  // namespace
}  // namespace rsidiff::worker
