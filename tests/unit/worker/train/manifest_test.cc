#include "worker/train/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rsidiff::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string ErrorOf(const std::string& text) {
  return std::string(ParseManifest(text, "m.jsonl").status().message());
}

TEST(ManifestTest, ReadsPicturesAndLatents) {
  const auto entries = ParseManifest(
      "{\"prompt\": \"a red \\u00e9toile\", \"file\": \"00001.png\", \"index\": 1, \"seed\": 7, \"sha256\": "
      "\"x\"}\n"
      "\n"
      "{\"prompt\": \"\", \"latent\": \"l.safetensors\", \"row\": 3, \"weight\": 0.5, \"replay\": true}\n",
      "m.jsonl");
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 2u);
  EXPECT_EQ((*entries)[0].prompt, "a red \xc3\xa9toile");
  EXPECT_EQ((*entries)[0].file, "00001.png");
  EXPECT_EQ((*entries)[0].weight, 1.0);
  EXPECT_EQ((*entries)[1].latent, "l.safetensors");
  EXPECT_EQ((*entries)[1].row, 3);
  EXPECT_EQ((*entries)[1].weight, 0.5);
  EXPECT_TRUE((*entries)[1].replay);
  EXPECT_EQ((*entries)[1].line, 3u);
}

TEST(ManifestTest, ErrorsNameFileLineAndKey) {
  EXPECT_THAT(ErrorOf(""), AllOf(HasSubstr("m.jsonl"), HasSubstr("empty")));
  EXPECT_THAT(ErrorOf("{\"prompt\": \"a\", \"file\": \"f\"}\n{\"prompt\": \"a\""),
              AllOf(HasSubstr("m.jsonl:2"), HasSubstr("not a JSON object")));
  EXPECT_THAT(ErrorOf("[1]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(ErrorOf("{\"file\": \"f\"}"), HasSubstr("no \"prompt\""));
  EXPECT_THAT(ErrorOf("{\"prompt\": \"a\"}"), HasSubstr("either \"file\" or \"latent\""));
  EXPECT_THAT(ErrorOf("{\"prompt\": \"a\", \"file\": \"f\", \"latent\": \"l\"}"), HasSubstr("either"));
  EXPECT_THAT(ErrorOf("{\"prompt\": \"a\", \"file\": \"f\", \"wieght\": 1}"), HasSubstr("\"wieght\""));
  EXPECT_THAT(ErrorOf("{\"prompt\": \"a\", \"file\": \"f\", \"weight\": -1}"), HasSubstr("\"weight\""));
  EXPECT_THAT(ErrorOf("{\"prompt\": \"a\", \"file\": \"f\", \"weight\": 1e999}"), HasSubstr("m.jsonl:1"));
  EXPECT_THAT(ErrorOf("{\"prompt\": 3, \"file\": \"f\"}"), HasSubstr("\"prompt\" is not a string"));
  EXPECT_THAT(ErrorOf("{\"prompt\": \"a\", \"latent\": \"l\", \"row\": -1}"), HasSubstr("\"row\""));
  EXPECT_THAT(ErrorOf("{\"prompt\": \"a\", \"latent\": \"l\", \"row\": 18446744073709551615}"),
              AllOf(HasSubstr("m.jsonl:1"), HasSubstr("\"row\"")));
}

}  // namespace
}  // namespace rsidiff::worker
