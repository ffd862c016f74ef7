#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "tests/simulation/scenario.h"

namespace rsidiff::simulation {
namespace {

/// RSIDIFF_SIMULATION_SEEDS: how many seeds to try. RSIDIFF_SIMULATION_SEED: the first one.
uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

const ExpectedResults& Expected() {
  static const auto* results = new ExpectedResults(MakeExpectedResults());
  return *results;
}

Outcome Simulate(uint64_t seed, Faults faults) {
  return Scenario(seed, {faults, &Expected()}).Run();
}

/// Tries the seeds on every core, and calls `judge` with each outcome, one at a time.
void SimulateMany(uint64_t first, uint64_t count, Faults faults,
                  const std::function<void(uint64_t, const Outcome&)>& judge) {
  Expected();
  std::atomic<uint64_t> next{first};
  absl::Mutex mutex;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i) {
    threads.emplace_back([&] {
      for (uint64_t seed = next++; seed < first + count; seed = next++) {
        Outcome outcome = Simulate(seed, faults);
        absl::MutexLock lock(&mutex);
        judge(seed, outcome);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

std::string Report(uint64_t seed, const Outcome& outcome, const std::string& test) {
  return absl::StrCat(
      outcome.violation, "\n", outcome.story, "\nreplay: RSIDIFF_SIMULATION_SEED=", seed,
      " RSIDIFF_SIMULATION_SEEDS=1 coordinator_simulation_test --gtest_filter=SimulationTest.", test);
}

TEST(SimulationTest, RunsEndWithoutFaults) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Outcome outcome = Simulate(seed, Faults::kNone);
    EXPECT_EQ(outcome.violation, "") << "seed " << seed;
    EXPECT_EQ(outcome.leases_expired, 0) << "seed " << seed;
  }
}

TEST(SimulationTest, SameSeedGivesTheSameEvents) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Outcome first = Simulate(seed, Faults::kSwarm);
    Outcome second = Simulate(seed, Faults::kSwarm);
    EXPECT_EQ(first.event_hash, second.event_hash) << "seed " << seed;
    EXPECT_EQ(first.steps, second.steps);
  }
}

/// Workers that live and talk keep their work while the coordinator crashes, is away for longer than a
/// lease lives, stalls, or finds its clock set.
TEST(SimulationTest, CoordinatorFaultsExpireNobodysLeases) {
  uint64_t first = FromEnvironment("RSIDIFF_SIMULATION_SEED", 1);
  uint64_t count = std::min<uint64_t>(FromEnvironment("RSIDIFF_SIMULATION_SEEDS", 500), 500);
  SimulateMany(first, count, Faults::kCoordinator, [](uint64_t seed, const Outcome& outcome) {
    const char* test = "CoordinatorFaultsExpireNobodysLeases";
    EXPECT_EQ(outcome.violation, "") << Report(seed, outcome, test);
    EXPECT_EQ(outcome.leases_expired, 0) << Report(seed, outcome, test);
  });
}

TEST(SimulationTest, FaultsLoseNothingAndChangeNothing) {
  uint64_t first = FromEnvironment("RSIDIFF_SIMULATION_SEED", 1);
  uint64_t count = FromEnvironment("RSIDIFF_SIMULATION_SEEDS", 10'000);
  int failures = 0;
  uint64_t steps = 0;
  SimulateMany(first, count, Faults::kSwarm, [&](uint64_t seed, const Outcome& outcome) {
    steps += outcome.steps;
    if (outcome.violation.empty() || ++failures > 5) return;
    ADD_FAILURE() << Report(seed, outcome, "FaultsLoseNothingAndChangeNothing");
  });
  RecordProperty("steps", std::to_string(steps));
}

/// The bugs in the core that the simulation has to find are planted by rsidiff_mutant(); this one is in the
/// part of the coordinator that the simulation plays.
TEST(SimulationTest, AnswerBeforeTheWriteIsCaught) {
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    Scenario::Options options{Faults::kSwarm, &Expected()};
    options.reply_before_commit = true;
    if (!Scenario(seed, options).Run().violation.empty()) return;
  }
  FAIL() << "answers left before the write, and nobody noticed";
}

}  // namespace
}  // namespace rsidiff::simulation
