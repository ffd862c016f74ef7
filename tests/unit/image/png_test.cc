#include "common/image/png.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace rsidiff {
namespace {

using ::testing::HasSubstr;

Image RandomPicture(int width, int height, unsigned seed) {
  Image image = MakeImage(width, height);
  std::mt19937 engine(seed);
  for (uint8_t& value : image.rgb) value = static_cast<uint8_t>(engine());
  return image;
}

TEST(Png, GivesBackPixelsAndText) {
  const Image image = RandomPicture(17, 5, 1);
  const PngText text = {
      {"prompt", "a na\xC3\xAFve cat"}, {"prompt-ja", "\xE7\x8C\xAB"}, {"seed", "12"}, {"empty", ""}};
  const auto bytes = EncodePng(image, text);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const auto decoded = DecodePng(*bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->width, 17);
  EXPECT_EQ(decoded->height, 5);
  EXPECT_EQ(decoded->rgb, image.rgb);
  EXPECT_EQ(*ReadPngText(*bytes), text);
}

TEST(Png, SameInputGivesSameBytes) {
  const Image image = RandomPicture(9, 9, 2);
  EXPECT_EQ(*EncodePng(image, {{"seed", "1"}}), *EncodePng(image, {{"seed", "1"}}));
}

TEST(Png, RefusesWhatIsNoPictureOrKeyword) {
  EXPECT_EQ(EncodePng(Image{}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(EncodePng(Image{2, 2, {1, 2, 3}}).status().code(), absl::StatusCode::kInvalidArgument);
  const Image image = MakeImage(1, 1);
  for (const std::string& keyword :
       {std::string(), std::string(" a"), std::string(80, 'k'), std::string("a\nb")}) {
    EXPECT_EQ(EncodePng(image, {{keyword, "x"}}).status().code(), absl::StatusCode::kInvalidArgument)
        << keyword;
  }
  EXPECT_FALSE(EncodePng(image, {{"key", std::string("a\0b", 3)}}).ok());
}

TEST(Png, RefusesEveryTruncation) {
  const std::string bytes = *EncodePng(RandomPicture(12, 12, 3), {{"prompt", "red circle"}});
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_EQ(DecodePng(bytes.substr(0, length)).status().code(), absl::StatusCode::kDataLoss) << length;
    EXPECT_FALSE(ReadPngText(bytes.substr(0, length)).ok()) << length;
  }
}

TEST(Png, SurvivesFlippedBits) {
  const std::string bytes = *EncodePng(RandomPicture(12, 12, 4), {{"prompt", "red circle"}});
  std::mt19937 engine(5);
  int refused = 0;
  for (int i = 0; i < 1000; ++i) {
    std::string torn = bytes;
    for (int k = 0; k < 3; ++k) torn[engine() % torn.size()] ^= static_cast<char>(1 << engine() % 8);
    refused += DecodePng(torn).ok() ? 0 : 1;
    (void)ReadPngText(torn);
  }
  EXPECT_GT(refused, 700);  // checksums catch nearly all; a flip in the text's contents only warns
}

TEST(Png, RefusesAHeaderThatClaimsTooMuch) {
  std::string bytes = *EncodePng(MakeImage(1, 1));
  // Width 0x7FFFFFFF with a checksum that fits.
  const unsigned char header[] = {0x7F, 0xFF, 0xFF, 0xFF};
  bytes.replace(16, 4, reinterpret_cast<const char*>(header), 4);
  EXPECT_FALSE(DecodePng(bytes).ok());
  EXPECT_THAT(std::string(DecodePng("no picture").status().message()), HasSubstr("not a whole PNG"));
}

}  // namespace
}  // namespace rsidiff
