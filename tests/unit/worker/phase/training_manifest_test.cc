#include "worker/phase/training_manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/digest.h"

namespace rsidiff::worker {
namespace {

using ::testing::HasSubstr;

std::string Message(const std::string& text) {
  return std::string(ParseTrainingManifest(text, "m").status().message());
}

TEST(TrainingManifestTest, ReadsEveryField) {
  const std::string a = Sha256Hex("a");
  const std::string b = Sha256Hex("b");
  auto examples = ParseTrainingManifest(
      R"({"prompt": "a \"red\" cube", "latents": ")" + a + R"(", "row": 7, "image": ")" + b +
          R"(", "weight": 1.5, "replay": true})" + "\n\n" + R"({"prompt": "", "latents": ")" + a +
          R"(", "row": 0, "weight": 0})",
      "m");
  ASSERT_TRUE(examples.ok()) << examples.status();
  ASSERT_EQ(examples->size(), 2u);
  const TrainingExample& first = examples->front();
  EXPECT_EQ(first.prompt, "a \"red\" cube");
  EXPECT_EQ(first.latents, a);
  EXPECT_EQ(first.row, 7u);
  EXPECT_EQ(first.image, b);
  EXPECT_EQ(first.weight, 1.5);
  EXPECT_TRUE(first.replay);
  EXPECT_FALSE(examples->back().replay);
}

TEST(TrainingManifestTest, ErrorsNameTheLine) {
  const std::string good = R"({"prompt": "p", "image": ")" + Sha256Hex("a") + R"(", "weight": 1})" + "\n";
  EXPECT_THAT(Message(good + "{"), HasSubstr("m line 2: not a JSON object"));
  EXPECT_THAT(Message("[1]"), HasSubstr("line 1: not a JSON object"));
  EXPECT_THAT(Message(R"({"image": "x"})"), HasSubstr("no \"prompt\""));
  EXPECT_THAT(Message(R"({"prompt": "p", "latents": "../../etc/passwd", "weight": 1})"),
              HasSubstr("no digest"));
  EXPECT_THAT(Message(R"({"prompt": "p", "weight": 1})"), HasSubstr("neither"));
  EXPECT_THAT(Message(good + R"({"prompt": "p", "image": ")" + Sha256Hex("a") + R"(", "weight": -1})"),
              HasSubstr("line 2: \"weight\""));
  EXPECT_THAT(Message(R"({"prompt": "p", "image": ")" + Sha256Hex("a") + R"(", "row": -3, "weight": 1})"),
              HasSubstr("\"row\""));
  EXPECT_THAT(Message(""), HasSubstr("is empty"));
}

}  // namespace
}  // namespace rsidiff::worker
