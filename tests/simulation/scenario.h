#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "rsidiff/v1/round.pb.h"
#include "tests/simulation/coordinator_host.h"
#include "tests/simulation/network.h"
#include "tests/simulation/worker.h"
#include "tests/simulation/world.h"

namespace rsidiff::simulation {

struct Outcome {
  std::string violation;  // empty: none
  uint64_t event_hash = 0;
  uint64_t steps = 0;
  /// Manifest digests (so the selected samples and their weights), checkpoints and sample counts of the
  /// run's rounds: what must not depend on the fleet.
  std::string result;
  /// The last events that the coordinator logged.
  std::string story;
};

/// One run on a small fleet. First a safety phase, with a random subset of the faults; then none, and the
/// run has to end within a bound. Everything is a function of the seed.
class Scenario {
 public:
  enum class Faults { kNone, kSwarm };
  Scenario(uint64_t seed, Faults faults);
  Outcome Run();

 private:
  void ChooseFaults();
  void Submit();
  void StartWorker(const std::string& name, absl::Duration delay);
  void Disturb();
  void DisturbWorker();
  void CrashCoordinator();
  void Drain();
  void PauseRun();
  void StopFaults();
  void KeepResuming();
  v1::RunState State() const;
  std::string Result() const;
  std::string Story() const;
  std::string RequestId();
  void Call(coordinator::Request request);

  Faults faults_;
  World world_;
  CoordinatorHost host_;
  Network network_;
  Gangs gangs_;
  WorkerFaults worker_faults_;
  std::map<std::string, std::shared_ptr<Worker>> workers_;
  std::shared_ptr<Process> client_ = std::make_shared<Process>();
  bool disturbing_ = true;
  bool kill_workers_ = false;
  bool pause_workers_ = false;
  bool twin_workers_ = false;
  bool crash_coordinator_ = false;
  bool drain_workers_ = false;
  bool pause_run_ = false;
};

}  // namespace rsidiff::simulation
