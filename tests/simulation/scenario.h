#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "tests/simulation/client.h"
#include "tests/simulation/coordinator_host.h"
#include "tests/simulation/network.h"
#include "tests/simulation/worker.h"
#include "tests/simulation/world.h"

namespace rsidiff::simulation {

struct Outcome {
  std::string violation;  // empty: none
  uint64_t event_hash = 0;
  uint64_t steps = 0;
  uint64_t leases_expired = 0;
  /// The last events that the coordinator logged.
  std::string story;
};

enum class Faults {
  kNone,
  kCoordinator,  // its crashes, stalls, clocks and slow writes; everything else is well
  kSwarm         // a random subset of all there are
};

/// The faults of one scenario; each is off at first.
struct FaultPlan {
  NetworkFaults network;
  WorkerFaults worker;
  HostOptions host;
  bool kill_workers = false;
  bool pause_workers = false;
  bool twin_workers = false;  // a second process of a living name
  bool drain_workers = false;
  bool cut_workers = false;      // partitions
  bool swizzle_workers = false;  // cut or kill all, one after the other, and bring them back in another order
  bool crash_coordinator = false;
  bool pause_coordinator = false;
  bool pause_runs = false;
  bool cancel_runs = false;
  bool fork_runs = false;
};
FaultPlan ChooseFaults(Faults faults, Random& random);

/// A few runs on a small fleet. First a safety phase, with faults; then none, and every run has to end
/// within a bound. Everything is a function of the seed.
class Scenario {
 public:
  struct Options {
    Faults faults = Faults::kSwarm;
    const ExpectedResults* expected = nullptr;  // not owned
    bool reply_before_commit = false;           // a planted bug
  };
  Scenario(uint64_t seed, Options options);
  Outcome Run();

 private:
  Scenario(uint64_t seed, Options options, World world);
  void SubmitRuns();
  void StartWorker(const std::string& name, absl::Duration delay);
  void Disturb();
  void DisturbWorker();
  void DisturbCoordinator();
  void DisturbRuns();
  void Cut(const std::string& name, absl::Duration from, absl::Duration until);
  void Swizzle();
  void Kill(const std::string& name, absl::Duration restart);
  void StopFaults();
  void KeepResuming();
  std::string RandomWorker();
  std::string Story() const;

  const Options options_;
  World world_;
  FaultPlan plan_;
  CoordinatorHost host_;
  Network network_;
  Client client_;
  Gangs gangs_;
  std::map<std::string, std::shared_ptr<Worker>> workers_;
  bool disturbing_ = true;
};

}  // namespace rsidiff::simulation
