#include "common/base/address.h"

#include <gtest/gtest.h>

namespace rsidiff {
namespace {

TEST(ParseHostPort, ReadsNamesAndNumbers) {
  EXPECT_EQ(ParseHostPort("localhost:7070")->host, "localhost");
  EXPECT_EQ(ParseHostPort("localhost:7070")->port, 7070);
  EXPECT_EQ(ParseHostPort("127.0.0.1:0")->port, 0);
  EXPECT_EQ(ParseHostPort("[::1]:65535")->host, "::1");
}

TEST(ParseHostPort, RoundTrips) {
  for (const char* text : {"localhost:7070", "127.0.0.1:0", "[fe80::1]:80"}) {
    EXPECT_EQ(ParseHostPort(text)->ToString(), text);
  }
}

TEST(ParseHostPort, RefusesAndQuotesTheText) {
  for (const char* text :
       {"", "7070", "localhost", "localhost:", ":7070", "::1:80", "host:65536", "host:-1", "host:x"}) {
    absl::StatusOr<HostPort> parsed = ParseHostPort(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_TRUE(absl::IsInvalidArgument(parsed.status()));
    EXPECT_NE(parsed.status().message().find("'" + std::string(text) + "'"), std::string::npos)
        << parsed.status();
  }
}

}  // namespace
}  // namespace rsidiff
