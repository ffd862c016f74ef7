#include "worker/train/checkpoint_writer.h"

#include <stdexcept>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/synchronization/notification.h"
#include "tests/unit/worker/train/toy_denoiser.h"

namespace rsidiff::worker {
namespace {

using ::testing::HasSubstr;

using Ends = std::vector<std::pair<uint64_t, absl::Status>>;

TEST(CheckpointWriterTest, SavesTheStateAsItWasWhileTrainingChangesIt) {
  TrainingState state = (*ToyTrainer(ToyOptions(3)))->state();
  state.step = 7;
  const uint64_t before = state.Fingerprint();
  absl::Notification changed;
  uint64_t saved = 0;
  Ends ends;
  {
    CheckpointWriter writer(
        [&](const TrainingState& copy) {
          changed.WaitForNotification();
          saved = copy.Fingerprint();
          return absl::OkStatus();
        },
        [&](uint64_t step, const absl::Status& status) { ends.emplace_back(step, status); });
    ASSERT_TRUE(writer.Start(state).ok());
    for (const at::Tensor& bucket : state.Buckets()) bucket.fill_(3.0);
    state.step = 8;
    // The one before is not done: this one is left out.
    const absl::Status refused = writer.Start(state);
    EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(refused.message()), HasSubstr("step 7 is still being stored"));
    changed.Notify();
    writer.Finish();
    EXPECT_EQ(saved, before);
    ASSERT_TRUE(writer.Start(state).ok());
  }  // waits
  EXPECT_EQ(saved, state.Fingerprint());
  ASSERT_EQ(ends.size(), 2u);
  EXPECT_EQ(ends[1].first, 8u);
}

TEST(CheckpointWriterTest, FailuresAreReportedAndTheNextOneIsTried) {
  const TrainingState state = (*ToyTrainer(ToyOptions(1)))->state();
  Ends ends;
  int calls = 0;
  CheckpointWriter writer(
      [&](const TrainingState&) -> absl::Status {
        if (++calls == 1) throw std::runtime_error("no memory");
        return absl::ResourceExhaustedError("disk full");
      },
      [&](uint64_t step, const absl::Status& status) { ends.emplace_back(step, status); });
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(writer.Start(state).ok());
    writer.Finish();
  }
  ASSERT_EQ(ends.size(), 2u);
  EXPECT_EQ(ends[0].second, absl::InternalError("no memory"));
  EXPECT_EQ(ends[1].second, absl::ResourceExhaustedError("disk full"));
}

}  // namespace
}  // namespace rsidiff::worker
