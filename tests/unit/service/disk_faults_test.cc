// A run on a disk that begins to fail: at every change that the database makes to its files.
//
// The slower sweeps take some changes only, spread over the run; RSIDIFF_ALL_DISK_FAULTS=1 takes every one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/unit/service/disk_coordinator.h"
#include "tests/unit/service/faulty_file_system.h"

namespace rsidiff::coordinator {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using Fault = FaultyFileSystem::Fault;
using Loss = FaultyFileSystem::Loss;

/// What the coordinator, stopped by the fault, is started again on: what its files held, or what a loss of
/// power leaves of them.
enum class Then { kRestart, kPowerLoss };

struct Sweep {
  Fault fault = Fault::kNone;
  Then then = Then::kRestart;
  Writing writing = Writing::kAsIs;
};

/// What is wrong when the fault comes at change `at` of a run; empty: nothing.
std::string DamageAfter(const Sweep& sweep, uint64_t at) {
  DiskCoordinator coordinator(sweep.writing);
  auto disk = std::make_shared<FaultyFileSystem>(FaultyFileSystem::Plan{sweep.fault, at});
  const absl::Status stopped = coordinator.LiveTwice(disk);
  if (stopped.ok() && !coordinator.finished()) return "stopped without a word";
  if (!stopped.ok() && !absl::StrContains(stopped.message(), "injected")) {
    return absl::StrCat("the message does not name the fault: ", stopped.ToString());
  }
  disk->EndFaults();
  if (sweep.then == Then::kPowerLoss) disk->LosePower(Loss::kAll, 0);
  std::string damage = coordinator.Damage(disk);
  if (!damage.empty()) return damage;
  const absl::Status goes_on = coordinator.Live(disk, kAllTasks);
  if (!goes_on.ok()) return absl::StrCat("after the fault: ", goes_on.ToString());
  if (!coordinator.finished()) return "the run does not end";
  // What was built on what the fault had left is on the disk as well.
  disk->LosePower(Loss::kAll, 0);
  return coordinator.Damage(disk);
}

/// Numbers from 1 to `changes`: about every third, one from each three by chance, so that no rhythm of the
/// writes escapes; all of them if the environment asks for it.
std::vector<uint64_t> Places(uint64_t changes) {
  const uint64_t step = std::getenv("RSIDIFF_ALL_DISK_FAULTS") != nullptr ? 1 : 3;
  std::mt19937 random(1);
  std::vector<uint64_t> places;
  for (uint64_t first = 1; first <= changes; first += step) places.push_back(first + random() % step);
  return places;
}

/// Lets the fault come at one change after another; what is wrong the first time that something is.
std::string FirstDamage(const Sweep& sweep) {
  for (uint64_t at : Places(ChangesOfARun())) {
    const std::string damage = DamageAfter(sweep, at);
    if (!damage.empty()) return absl::StrCat("fault at change ", at, ": ", damage);
  }
  return "";
}

struct NamedFault {
  const char* name;
  Fault fault;
};

class DiskFaultTest : public testing::TestWithParam<NamedFault> {};

TEST_P(DiskFaultTest, RestartGoesOnAndMissesNothing) {
  EXPECT_EQ(FirstDamage({GetParam().fault, Then::kRestart}), "");
}

TEST_P(DiskFaultTest, LossOfPowerAfterTheFaultTakesNothingThatWasAcknowledged) {
  EXPECT_EQ(FirstDamage({GetParam().fault, Then::kPowerLoss}), "");
}

class IgnoredFaultTest : public DiskFaultTest {};

TEST_P(IgnoredFaultTest, IsNoticed) {
  // An acknowledged registration that is lost shows when its number is given again.
  EXPECT_THAT(FirstDamage({GetParam().fault, Then::kPowerLoss, Writing::kErrorsIgnored}),
              AnyOf(HasSubstr("was acknowledged"), HasSubstr("was given twice")));
}

constexpr NamedFault kFaults[] = {{"NoSpace", Fault::kNoSpace},      {"Errors", Fault::kError},
                                  {"OneError", Fault::kOneError},    {"TornAppend", Fault::kTornAppend},
                                  {"SyncErrors", Fault::kSyncError}, {"OneSyncError", Fault::kOneSyncError}};

std::string Name(const testing::TestParamInfo<NamedFault>& tested) {
  return tested.param.name;
}

INSTANTIATE_TEST_SUITE_P(All, DiskFaultTest, testing::ValuesIn(kFaults), Name);
// All but NoSpace: RocksDB ends a process by an assertion that writes on after that one.
INSTANTIATE_TEST_SUITE_P(All, IgnoredFaultTest,
                         testing::ValuesIn(std::next(std::begin(kFaults)), std::end(kFaults)), Name);

}  // namespace
}  // namespace rsidiff::coordinator
