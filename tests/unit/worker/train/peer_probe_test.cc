#include "worker/train/peer_probe.h"

#include <memory>

#include <gtest/gtest.h>

#include "worker/train/process_group.h"

namespace rsidiff::worker {
namespace {

TEST(PeerProbeTest, TellsAPortThatNobodyServesFromOneThatSomebodyDoes) {
  std::unique_ptr<StoreServer> store = *StoreServer::Start();
  const HostPort address{"127.0.0.1", static_cast<uint16_t>(store->port())};
  EXPECT_EQ(ProbePeer(address, absl::Seconds(10)), PeerAnswer::kAccepts);
  store.reset();
  EXPECT_EQ(ProbePeer(address, absl::Seconds(10)), PeerAnswer::kRefuses);
}

TEST(PeerProbeTest, ANameThatDoesNotResolveSaysNothing) {
  EXPECT_EQ(ProbePeer({"no such host", 1}, absl::Milliseconds(1)), PeerAnswer::kNone);
}

}  // namespace
}  // namespace rsidiff::worker
