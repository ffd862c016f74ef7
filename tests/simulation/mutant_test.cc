// Linked with a core that has a bug planted: the simulation has to find it.
#include <gtest/gtest.h>

#include <cstdint>
#include <iostream>

#include "tests/simulation/scenario.h"

namespace rsidiff::simulation {
namespace {

constexpr uint64_t kSeeds = 2'000;

TEST(MutantTest, IsCaught) {
  const ExpectedResults expected = MakeExpectedResults();
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    // What the scenarios of simulation_test.cc look for.
    Faults faults = seed % 4 == 0 ? Faults::kCoordinator : Faults::kSwarm;
    Outcome outcome = Scenario(seed, {faults, &expected}).Run();
    if (faults == Faults::kCoordinator && outcome.leases_expired > 0 && outcome.violation.empty())
      outcome.violation = "a living worker lost its lease";
    if (outcome.violation.empty()) continue;
    std::cout << "seed " << seed << ": " << outcome.violation << "\n";
    return;
  }
  FAIL() << "the planted bug survived " << kSeeds << " seeds";
}

}  // namespace
}  // namespace rsidiff::simulation
