#include "coordinator/state/manifest.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "common/base/digest.h"

namespace rsidiff::coordinator {
namespace {

TEST(ManifestLineTest, IsAJsonObject) {
  v1::SampleRecord sample;
  sample.set_latents(Sha256Hex("latents"));
  sample.set_image(Sha256Hex("image"));
  sample.set_row(7);
  for (const std::string prompt :
       {"a red cube", "\"quoted\" \\ \n\x01", "Fréchet 立方体", "torn \xe7\xab", ""}) {
    for (const double weight : {0.0, 1.0, 0.1, 1.0 / 3, 5e-324, 12345678.9, 1e22}) {
      nlohmann::ordered_json line;
      line["prompt"] = prompt;
      line["latents"] = sample.latents();
      line["row"] = 7;
      line["image"] = sample.image();
      line["weight"] = weight;
      line["replay"] = weight > 1;
      EXPECT_EQ(ManifestLine(prompt, sample, weight, weight > 1 ? Replay::kYes : Replay::kNo),
                line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
    }
  }
}

TEST(ManifestPartsTest, PartsAreFullButTheLastAndHoldEveryLine) {
  ManifestParts manifest;
  std::string all;
  for (uint32_t i = 0; i < 2 * ManifestParts::kLines + 5; ++i) {
    manifest.Add(std::to_string(i) + "\n");
    all += std::to_string(i) + "\n";
  }
  EXPECT_EQ(manifest.TakeComplete().size(), 2);
  manifest.Finish();
  EXPECT_EQ(manifest.TakeComplete().size(), 1);
  EXPECT_EQ(manifest.digests().size(), 3);

  ManifestParts again;
  for (uint32_t i = 0; i < 2 * ManifestParts::kLines + 5; ++i) again.Add(std::to_string(i) + "\n");
  again.Finish();
  std::string joined;
  for (const std::string& part : again.TakeComplete()) joined += part;
  EXPECT_EQ(joined, all);
  EXPECT_EQ(again.digests(), manifest.digests());
}

TEST(ManifestPartsTest, NothingHasNoParts) {
  ManifestParts manifest;
  manifest.Finish();
  EXPECT_TRUE(manifest.digests().empty());
}

}  // namespace
}  // namespace rsidiff::coordinator
