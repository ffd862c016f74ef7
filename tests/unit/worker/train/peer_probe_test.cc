#include "worker/train/peer_probe.h"

#include <memory>

#include <gtest/gtest.h>

#include "worker/train/process_group.h"

namespace rsidiff::worker {
namespace {

TEST(PeerProbeTest, TellsAPortThatNobodyServesFromOneThatSomebodyDoes) {
  std::unique_ptr<StoreServer> store = *StoreServer::Start();
  const HostPort address{"127.0.0.1", static_cast<uint16_t>(store->port())};
  EXPECT_FALSE(RefusesConnections(address, absl::Seconds(10)));
  store.reset();
  EXPECT_TRUE(RefusesConnections(address, absl::Seconds(10)));
}

TEST(PeerProbeTest, ANameThatDoesNotResolveSaysNothing) {
  EXPECT_FALSE(RefusesConnections({"no such host", 1}, absl::Milliseconds(1)));
}

}  // namespace
}  // namespace rsidiff::worker
