#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "tests/simulation/scenario.h"

namespace rsidiff::simulation {
namespace {

/// Number of seeds to try, and the first one. RSIDIFF_SIMULATION_SEEDS=10000 for a long search,
/// RSIDIFF_SIMULATION_SEED=N RSIDIFF_SIMULATION_SEEDS=1 to see one again.
uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

Outcome Simulate(uint64_t seed, Scenario::Faults faults) {
  return Scenario(seed, faults).Run();
}

TEST(SimulationTest, RunEndsWithoutFaults) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_EQ(Simulate(seed, Scenario::Faults::kNone).violation, "") << "seed " << seed;
  }
}

TEST(SimulationTest, SameSeedGivesTheSameEvents) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Outcome first = Simulate(seed, Scenario::Faults::kSwarm);
    Outcome second = Simulate(seed, Scenario::Faults::kSwarm);
    EXPECT_EQ(first.event_hash, second.event_hash) << "seed " << seed;
    EXPECT_EQ(first.steps, second.steps);
  }
}

TEST(SimulationTest, FaultsLoseNothingAndChangeNothing) {
  const std::string expected = Simulate(0, Scenario::Faults::kNone).result;
  uint64_t first = FromEnvironment("RSIDIFF_SIMULATION_SEED", 1);
  uint64_t count = FromEnvironment("RSIDIFF_SIMULATION_SEEDS", 2'000);
  int failures = 0;
  for (uint64_t seed = first; seed < first + count && failures < 5; ++seed) {
    Outcome outcome = Simulate(seed, Scenario::Faults::kSwarm);
    if (outcome.violation.empty() && outcome.result == expected) continue;
    ++failures;
    ADD_FAILURE() << (outcome.violation.empty()
                          ? "the result differs from the fault-free run's:\n" + outcome.result
                          : outcome.violation)
                  << "\n"
                  << outcome.story << "\nreplay: RSIDIFF_SIMULATION_SEED=" << seed
                  << " RSIDIFF_SIMULATION_SEEDS=1 coordinator_simulation_test "
                     "--gtest_filter=SimulationTest.FaultsLoseNothingAndChangeNothing";
  }
}

}  // namespace
}  // namespace rsidiff::simulation
