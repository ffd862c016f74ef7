#include "worker/agent/host_address.h"

#include <gtest/gtest.h>

#include "absl/status/status.h"

namespace rsidiff::worker {
namespace {

TEST(AddressToCallTest, AWildcardGivesWayToTheHost) {
  EXPECT_EQ(AddressToCall("0.0.0.0:7080", "10.0.0.2"), "10.0.0.2:7080");
  EXPECT_EQ(AddressToCall("[::]:7080", "gpu-1"), "gpu-1:7080");
  EXPECT_EQ(AddressToCall("0.0.0.0:7080", "fd00::5"), "[fd00::5]:7080");
  EXPECT_EQ(AddressToCall("127.0.0.1:7080", "10.0.0.2"), "127.0.0.1:7080");
  EXPECT_EQ(AddressToCall("[::1]:7080", "10.0.0.2"), "[::1]:7080");
}

TEST(IsLoopbackTest, TellsThisMachineFromOthers) {
  for (const char* host : {"127.0.0.1", "127.1.2.3", "::1", "localhost"})
    EXPECT_TRUE(IsLoopback(host)) << host;
  for (const char* host : {"10.0.0.2", "fd00::5", "gpu-127", "0.0.0.0"})
    EXPECT_FALSE(IsLoopback(host)) << host;
}

TEST(AddressTowardsTest, OfThisMachineItIsLoopback) {
  EXPECT_EQ(*AddressTowards("127.0.0.1:7070"), "127.0.0.1");
  EXPECT_TRUE(absl::IsInvalidArgument(AddressTowards("head").status()));
}

}  // namespace
}  // namespace rsidiff::worker
