#include "common/image/resize.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace rsidiff {
namespace {

// Equality with Pillow itself is in tests/parity/image.
TEST(ResizeBicubic, KeepsAFlatPictureFlatAtEverySize) {
  Image grey = MakeImage(13, 7);
  std::fill(grey.rgb.begin(), grey.rgb.end(), 137);
  for (int width : {1, 2, 12, 13, 14, 100}) {
    for (int height : {1, 6, 7, 8, 64}) {
      const Image resized = ResizeBicubic(grey, width, height);
      ASSERT_EQ(resized.width, width);
      ASSERT_EQ(resized.height, height);
      EXPECT_TRUE(std::all_of(resized.rgb.begin(), resized.rgb.end(), [](uint8_t v) { return v == 137; }));
    }
  }
}

TEST(ResizeBicubic, ClipsOvershootInsteadOfWrapping) {
  Image edge = MakeImage(8, 1);
  std::fill(edge.rgb.begin() + 12, edge.rgb.end(), 255);
  const Image resized = ResizeBicubic(edge, 64, 1);
  for (int x = 1; x < 64; ++x) EXPECT_GE(resized.rgb[3 * x] + 40, resized.rgb[3 * x - 3]) << x;
  EXPECT_EQ(*std::max_element(resized.rgb.begin(), resized.rgb.end()), 255);
}

}  // namespace
}  // namespace rsidiff
