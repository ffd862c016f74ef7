#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/state/core.h"
#include "tests/simulation/invariants.h"
#include "tests/simulation/world.h"

namespace rsidiff::simulation {

/// The coordinator's machine: the production core, a disk of rows of which an unsynced tail may be lost,
/// and crashes at the points where they hurt.
class CoordinatorHost {
 public:
  using Callback = std::function<void(absl::StatusOr<coordinator::Response>)>;

  enum class Crash {
    kBeforeWrite,  // the step's rows are lost
    kBeforeReply,  // they are written and nobody hears of it
    kPowerLoss     // as kBeforeReply, and a part of the unsynced rows is lost too
  };

  CoordinatorHost(World& world, absl::Duration restart_delay);

  /// A call as it reaches the coordinator; lost while that is down. `reply` is called at most once.
  void Receive(coordinator::Request request, Callback reply);

  /// The next step that writes something ends in a crash.
  void CrashAtNextWrite(Crash crash) {
    crash_next_ = crash;
    armed_ = true;
  }

  bool up() const { return core_ != nullptr; }
  const Disk& disk() const { return disk_; }
  Invariants& invariants() { return invariants_; }
  const std::map<std::string, std::string>& artifacts() const { return artifacts_; }
  /// Of every row written and reply sent so far.
  uint64_t event_hash() const { return hash_; }
  uint64_t steps() const { return steps_; }
  /// Compares memory and disk now.
  void CheckMemory();

 private:
  void Start();
  void Step(coordinator::Event event);
  void Write(const coordinator::StepResult& result);
  void GoDown(Crash crash);
  void ScheduleTick();
  void Mix(const std::string& bytes);

  World& world_;
  absl::Duration restart_delay_;
  std::unique_ptr<coordinator::Core> core_;
  Disk disk_;
  std::vector<Disk> unsynced_;  // the disk before each batch since the last synced one
  Invariants invariants_;
  std::map<std::string, std::string> artifacts_;  // by digest
  std::map<uint64_t, Callback> waiting_;
  uint64_t next_call_ = 1;
  uint64_t life_ = 0;  // distinguishes ticks of an earlier process
  absl::Time tick_at_ = absl::InfiniteFuture();
  bool armed_ = false;
  Crash crash_next_ = Crash::kBeforeWrite;
  uint64_t hash_ = 14695981039346656037u;
  uint64_t steps_ = 0;
};

}  // namespace rsidiff::simulation
