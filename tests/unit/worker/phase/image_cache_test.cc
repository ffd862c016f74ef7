#include "worker/phase/image_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/artifact/directory_store.h"
#include "common/image/png.h"

namespace rsidiff::worker {
namespace {

class ImageCacheTest : public ::testing::Test {
 protected:
  ImageCacheTest() : store_(DirectoryStore::Open(::testing::TempDir() + "/image_cache_test").value()) {}

  static Image Picture(uint8_t value) {
    Image image = MakeImage(4, 4);
    image.rgb.assign(image.rgb.size(), value);
    return image;
  }
  std::string Stored(uint8_t value) { return store_->Put(EncodePng(Picture(value)).value()).value(); }

  std::unique_ptr<DirectoryStore> store_;
};

TEST_F(ImageCacheTest, ReadsFromTheStoreOnceAndRemembers) {
  ImageCache cache(1000);
  std::string digest = Stored(7);
  auto first = cache.Get(digest, *store_);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ((*first)->rgb, Picture(7).rgb);
  EXPECT_EQ(cache.Get(digest, *store_)->get(), first->get());
}

TEST_F(ImageCacheTest, ForgetsTheLeastRecentlyUsed) {
  ImageCache cache(2 * 48);  // two pictures
  std::string a = Stored(1), b = Stored(2), c = Stored(3);
  const Image* kept = cache.Get(a, *store_)->get();
  std::shared_ptr<const Image> evicted = *cache.Get(b, *store_);
  EXPECT_EQ(cache.Get(a, *store_)->get(), kept);
  ASSERT_TRUE(cache.Get(c, *store_).ok());
  EXPECT_EQ(cache.Get(a, *store_)->get(), kept);
  EXPECT_NE(cache.Get(b, *store_)->get(), evicted.get());
}

TEST_F(ImageCacheTest, ErrorsNameThePicture) {
  ImageCache cache(1000);
  std::string text = store_->Put("no picture").value();
  auto image = cache.Get(text, *store_);
  EXPECT_EQ(image.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(image.status().message()), ::testing::HasSubstr(text));
}

}  // namespace
}  // namespace rsidiff::worker
