#include "worker/train/state_sync.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/status/statusor.h"
#include "tests/unit/worker/train/toy_denoiser.h"
#include "worker/train/process_group.h"

namespace rsidiff::worker {
namespace {

using ::testing::HasSubstr;

TrainingState ToyState(uint64_t step) {
  TrainingState state = (*ToyTrainer(ToyOptions(9)))->state();
  state.step = step;
  return state;
}

/// One group of as many members as states, each on a thread of its own: what each of them hears.
std::vector<absl::StatusOr<SyncReport>> Synchronize(std::vector<TrainingState>& states) {
  const std::unique_ptr<StoreServer> store = StoreServer::Start().value();
  std::vector<absl::StatusOr<SyncReport>> reports(states.size(), absl::UnknownError("did not run"));
  std::vector<std::thread> members;
  for (size_t rank = 0; rank < states.size(); ++rank) {
    members.emplace_back([&, rank] {
      ProcessGroupOptions options;
      options.rank = static_cast<int>(rank);
      options.world = static_cast<int>(states.size());
      options.store_host = "127.0.0.1";
      options.store_port = store->port();
      options.prefix = "state_sync_test";
      auto group = ProcessGroup::Join(options);
      reports[rank] = group.ok() ? SynchronizeState(**group, states[rank]) : group.status();
    });
  }
  for (std::thread& member : members) member.join();
  return reports;
}

TEST(StateSyncTest, TheOneBehindReceivesTheStateOfTheFurthest) {
  std::vector<TrainingState> states = {ToyState(4), ToyState(5), ToyState(5)};
  for (const size_t rank : {1, 2}) states[rank].parameters.front().add_(1);
  const auto reports = Synchronize(states);
  for (size_t rank = 0; rank < states.size(); ++rank) {
    ASSERT_TRUE(reports[rank].ok()) << reports[rank].status();
    EXPECT_EQ(reports[rank]->step, 5u);
    EXPECT_EQ(reports[rank]->source, 1);
    EXPECT_EQ(reports[rank]->received, rank == 0);
    EXPECT_EQ(states[rank].Fingerprint(), states[1].Fingerprint());
  }
}

TEST(StateSyncTest, MembersAtOneStepThatHoldDifferentValuesAllNameTheRanks) {
  std::vector<TrainingState> states = {ToyState(5), ToyState(5), ToyState(5)};
  states[2].exp_avg.back()[0].add_(1e-3);
  const uint64_t before = states[2].Fingerprint();
  for (const absl::StatusOr<SyncReport>& report : Synchronize(states)) {
    EXPECT_EQ(report.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(report.status().message()),
                HasSubstr("training states differ at step 5: rank 2 from rank 0"));
  }
  EXPECT_EQ(states[2].Fingerprint(), before);
}

TEST(StateSyncTest, NobodyWithAStateIsAnError) {
  std::vector<TrainingState> states = {ToyState(5), ToyState(5)};
  for (TrainingState& state : states) state.complete = false;
  for (const absl::StatusOr<SyncReport>& report : Synchronize(states)) {
    EXPECT_EQ(report.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(report.status().message()), HasSubstr("no training member holds"));
  }
}

}  // namespace
}  // namespace rsidiff::worker
