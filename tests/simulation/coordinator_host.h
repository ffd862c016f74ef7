#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/state/core.h"
#include "tests/simulation/acknowledgements.h"
#include "tests/simulation/invariants.h"
#include "tests/simulation/world.h"

namespace rsidiff::simulation {

struct HostOptions {
  absl::Duration restart_delay = absl::Seconds(2);
  /// Steps wait so long for the disk, and are then written together; zero: each at once.
  absl::Duration longest_write;
  /// The machine's clock may be set, by up to a day, while the coordinator is down.
  bool clock_jumps = false;
  int max_lost_attempts = 10;
  int max_error_attempts = 3;
  /// Samples that a step of a selection takes, and how long it takes at most.
  size_t slice_samples = coordinator::CoreOptions().slice_samples;
  absl::Duration longest_slice;
  /// I6 after every write instead of every 64th.
  bool check_memory_always = false;
  /// A planted bug: answers leave before what they promise is written.
  bool reply_before_commit = false;
};

/// The coordinator's machine: the production core, a disk of rows of which an unsynced tail may be lost,
/// and crashes at the points where they hurt.
class CoordinatorHost {
 public:
  using Callback = std::function<void(absl::StatusOr<coordinator::Response>)>;

  enum class Crash {
    kBeforeWrite,         // the steps' rows are lost
    kAppliedButTimedOut,  // they are written, the writer sees an error and stops, nobody gets an answer
    kPowerLoss            // the same, and a part of the unsynced rows is lost too
  };

  CoordinatorHost(World& world, HostOptions options);

  /// A call as it reaches the coordinator, and its number; lost while that is down. `reply` is called at
  /// most once.
  uint64_t Receive(coordinator::Request request, Callback reply);
  /// Nobody waits for the call any more.
  void Cancel(uint64_t call);

  /// The next write ends in a crash.
  void CrashAtNextWrite(Crash crash) { crash_next_ = crash; }
  /// The process is stopped (SIGSTOP) and goes on later; what arrives meanwhile waits.
  void Pause(absl::Duration duration) { paused_until_ = world_.now() + duration; }

  bool up() const { return core_ != nullptr; }
  const Disk& disk() const { return disk_; }
  Invariants& invariants() { return invariants_; }
  const std::map<std::string, std::string>& artifacts() const { return artifacts_; }
  /// Of every row written and answer sent so far.
  uint64_t event_hash() const { return hash_; }
  uint64_t steps() const { return steps_; }
  /// Leases that ran out, over all lives.
  uint64_t leases_expired() const;
  /// Compares memory and disk, and the disk with what was acknowledged.
  void CheckEnd();

 private:
  struct Call {
    coordinator::Request request;
    Callback reply;
  };
  using Undo = std::vector<std::pair<Disk::key_type, std::optional<std::string>>>;

  void Start();
  /// Runs `action` now, or on waking; never in a later life.
  void WhenAwake(std::function<void()> action);
  void Step(coordinator::Event event);
  void Commit();
  void Write(const std::vector<coordinator::StepResult>& steps);
  void CheckArtifacts(const coordinator::RowWrite& row);
  void Release(std::vector<coordinator::Reply> replies);
  void GoDown(Crash crash);
  void ScheduleTick();
  void CheckMemory();
  absl::Time Clock() const { return world_.now() + clock_is_fast_; }
  void Mix(const std::string& bytes);

  World& world_;
  const HostOptions options_;
  std::unique_ptr<coordinator::Core> core_;
  Disk disk_;
  std::vector<Undo> unsynced_;  // how to undo each write since the last synced one
  std::vector<coordinator::StepResult> pending_;
  bool commit_scheduled_ = false;
  Invariants invariants_;
  Acknowledgements acknowledgements_{invariants_};
  std::map<std::string, std::string> artifacts_;  // by digest
  std::vector<std::string> unstored_;             // handed over, and no row that was written names them
  std::map<uint64_t, Call> calls_;
  std::map<uint64_t, std::string> lease_requests_;  // request id, by call
  uint64_t next_call_ = 1;
  uint64_t life_ = 0;  // distinguishes what an earlier process wanted to do
  absl::Time tick_at_ = absl::InfiniteFuture();
  absl::Time paused_until_ = absl::InfinitePast();
  absl::Duration clock_is_fast_;
  std::optional<Crash> crash_next_;
  int due_ticks_ = 0;  // in a row after which another one was due at once
  uint64_t expired_before_ = 0;
  uint64_t hash_ = 14695981039346656037u;
  uint64_t steps_ = 0;
  uint64_t writes_ = 0;
};

}  // namespace rsidiff::simulation
