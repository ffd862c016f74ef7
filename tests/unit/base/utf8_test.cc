#include "common/base/utf8.h"

#include <string>

#include <gtest/gtest.h>

namespace rsidiff {
namespace {

TEST(Utf8Test, AnExcerptEndsBetweenCodePoints) {
  EXPECT_EQ(Excerpt(""), "");
  const std::string whole(80, 'a');
  EXPECT_EQ(Excerpt(whole), whole);
  EXPECT_EQ(Excerpt(whole + "b"), whole + "...");
  // Code points of three bytes: the 27th ends at byte 81.
  std::string circles;
  for (int i = 0; i < 40; ++i) circles += "\xe2\x97\x8b";
  EXPECT_EQ(Excerpt(circles), circles.substr(0, 78) + "...");
}

TEST(Utf8Test, CheckNamesFileAndLine) {
  EXPECT_TRUE(CheckUtf8("a\nb\u00e9\n", "f").ok());
  EXPECT_EQ(CheckUtf8("a\nb\n\xff", "f.txt").message(), "f.txt:3: not valid UTF-8");
  EXPECT_EQ(LineOf("a\nb", 1), 1);
  EXPECT_EQ(LineOf("a\nb", 99), 2);
}

}  // namespace
}  // namespace rsidiff
