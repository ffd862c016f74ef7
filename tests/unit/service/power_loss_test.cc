// A run on a machine that loses its power: at every change that the database makes to its files, and again
// and again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/unit/service/disk_coordinator.h"
#include "tests/unit/service/faulty_file_system.h"

namespace rsidiff::coordinator {
namespace {

using ::testing::HasSubstr;
using Fault = FaultyFileSystem::Fault;
using Loss = FaultyFileSystem::Loss;

struct PowerLosses {
  Writing writing = Writing::kAsIs;
  Loss loss = Loss::kAll;
  uint32_t seeds = 1;  // of what is lost, for each change
};

/// What is wrong after the machine lost its power at change `at` of a run; empty: nothing.
std::string DamageAfter(const PowerLosses& losses, uint64_t at, uint32_t seed) {
  DiskCoordinator coordinator(losses.writing);
  auto disk = std::make_shared<FaultyFileSystem>(FaultyFileSystem::Plan{Fault::kError, at});
  (void)coordinator.LiveTwice(disk);  // stopped at `at`, if it got there
  disk->EndFaults();
  disk->LosePower(losses.loss, seed);
  std::string damage = coordinator.Damage(disk);
  if (!damage.empty()) return damage;
  const absl::Status goes_on = coordinator.Live(disk, kAllTasks);
  if (!goes_on.ok()) return goes_on.ToString();
  return coordinator.finished() ? "" : "the run does not end";
}

/// Loses the power at every change; what is wrong the first time that something is.
std::string FirstDamage(const PowerLosses& losses) {
  const uint64_t changes = ChangesOfARun();
  for (uint64_t at = 1; at <= changes + 1; ++at) {
    for (uint32_t seed = 0; seed < losses.seeds; ++seed) {
      const std::string damage = DamageAfter(losses, at, static_cast<uint32_t>(at * losses.seeds + seed));
      if (!damage.empty()) return absl::StrCat("power lost at change ", at, ", seed ", seed, ": ", damage);
    }
  }
  return "";
}

TEST(PowerLossTest, NothingThatWasAcknowledgedIsLostWithAllThatWasNotSynced) {
  EXPECT_EQ(FirstDamage({Writing::kAsIs, Loss::kAll}), "");
}

TEST(PowerLossTest, NothingThatWasAcknowledgedIsLostWithAPartOfWhatWasNotSynced) {
  EXPECT_EQ(FirstDamage({Writing::kAsIs, Loss::kPart, 3}), "");
}

TEST(PowerLossTest, WritesThatAreNotSyncedAreNoticed) {
  // The first that is acknowledged is a registration: its loss shows when the number is given again.
  EXPECT_THAT(FirstDamage({Writing::kNeverSynced, Loss::kAll}), HasSubstr("incarnation 1 was given twice"));
  EXPECT_THAT(FirstDamage({Writing::kNeverSynced, Loss::kPart}), HasSubstr("incarnation 1 was given twice"));
}

TEST(PowerLossTest, ARunEndsOverManyLosses) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);
    DiskCoordinator coordinator;
    int lives = 0;
    for (; !coordinator.finished(); ++lives) {
      ASSERT_LT(lives, 1'000) << "seed " << seed;
      const uint64_t at = 1 + random() % 120;
      auto disk = std::make_shared<FaultyFileSystem>(FaultyFileSystem::Plan{Fault::kError, at});
      (void)coordinator.Live(disk, kAllTasks);
      disk->EndFaults();
      disk->LosePower(random() % 2 == 0 ? Loss::kAll : Loss::kPart, static_cast<uint32_t>(random()));
      ASSERT_EQ(coordinator.Damage(disk), "") << "seed " << seed << ", life " << lives;
    }
    EXPECT_GT(lives, 1) << "seed " << seed;
  }
}

}  // namespace
}  // namespace rsidiff::coordinator
