#include "common/base/digest.h"

#include <gtest/gtest.h>

#include <set>

namespace rsidiff {
namespace {

// FIPS 180-2, appendix B.
constexpr char kAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(Sha256, AgreesWithTheStandardsExamples) {
  EXPECT_EQ(Sha256Hex("abc"), kAbc);
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Sha256, PiecesGiveTheSameDigest) {
  Sha256 hash;
  hash.Update("a");
  hash.Update("");
  Sha256 moved = std::move(hash);
  moved.Update("bc");
  EXPECT_EQ(moved.FinishHex(), kAbc);
}

TEST(IsDigest, RefusesWhatMustNotBecomeAFileName) {
  EXPECT_TRUE(IsDigest(kAbc));
  EXPECT_FALSE(IsDigest(""));
  EXPECT_FALSE(IsDigest("../../etc/passwd"));
  EXPECT_FALSE(IsDigest(std::string(kAbc).substr(1)));
  EXPECT_FALSE(IsDigest(std::string(kAbc) + "a"));
  EXPECT_FALSE(IsDigest("BA" + std::string(kAbc).substr(2)));
  EXPECT_FALSE(IsDigest("../" + std::string(kAbc).substr(3)));
  EXPECT_FALSE(IsDigest(std::string(63, 'a') + std::string(1, '\0')));
}

TEST(RandomId, IsHexadecimalAndDiffers) {
  std::set<std::string> ids;
  for (int i = 0; i < 100; ++i) ids.insert(RandomId());
  EXPECT_EQ(ids.size(), 100u);
  EXPECT_EQ(ids.begin()->size(), 32u);
}

}  // namespace
}  // namespace rsidiff
