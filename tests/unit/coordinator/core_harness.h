#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/state/core.h"
#include "coordinator/state/tables.h"

namespace rsidiff::coordinator {

/// A worker's request for work: one task, without waiting.
v1::LeaseRequest RequestForWork(const std::string& request_id, const std::string& worker,
                                uint64_t incarnation);

/// A core with a virtual clock and a disk of rows, driven by hand. A failed expectation inside is a test
/// failure of the caller.
class CoreHarness {
 public:
  explicit CoreHarness(absl::Duration lease_ttl = CoreOptions().lease_ttl);
  explicit CoreHarness(CoreOptions options);

  /// One call, and the ticks that are due at once after it; its answer if it came at once. Long polls answer
  /// later: see answers().
  std::optional<absl::StatusOr<Response>> Call(Request request);

  /// The same without the ticks.
  std::optional<absl::StatusOr<Response>> CallOnly(Request request);

  /// A tick, now.
  void Tick() { TickWithResult(); }
  /// The same, and what it wanted done.
  StepResult TickWithResult();
  bool TickIsDue() const { return core_->NextTimer() <= now_; }

  /// The answer of a call that has to come at once and to be a `T`.
  template <class T>
  T Ok(Request request) {
    auto answer = Call(std::move(request));
    return Unwrap<T>(answer);
  }

  v1::RunStatus GetRun(uint64_t run_id);

  /// The error of a call that has to fail.
  absl::Status Error(Request request);

  /// Lets `duration` pass; the core gets a tick at every timer on the way.
  void Pass(absl::Duration duration);

  /// Time passes, but the coordinator does not run: no ticks, no calls.
  void Stall(absl::Duration duration) { now_ += duration; }

  /// Throws the core away and recovers another from the disk. The machine's clock may have been set
  /// meanwhile.
  void Restart(absl::Duration clock_jump = absl::ZeroDuration());

  /// The same from another disk's rows, which take the place of this one's.
  void RestartOn(std::map<std::pair<Table, std::string>, std::string> disk);

  /// True if the core's memory and the disk hold the same.
  bool MemoryEqualsDisk() const;

  /// A round's training samples on the disk, with what the round found about them.
  std::vector<v1::SampleRecord> Samples(uint64_t run_id, uint32_t round) const;

  /// What the check of a whole database finds wrong with the disk.
  absl::Status CheckDisk() const;

  Core& core() { return *core_; }
  absl::Time now() const { return now_; }
  std::map<uint64_t, absl::StatusOr<Response>>& answers() { return answers_; }
  uint64_t last_id() const { return next_id_ - 1; }
  const std::map<std::string, std::string>& artifacts() const { return artifacts_; }
  const std::map<std::pair<Table, std::string>, std::string>& disk() const { return disk_; }

  // Calls as a worker makes them, each with a fresh request id.
  uint64_t Register(const std::string& name);
  std::vector<v1::Grant> Lease(const std::string& name, uint64_t incarnation, uint32_t max_tasks = 1);
  v1::CompleteRequest Completion(const std::string& name, uint64_t incarnation, const v1::Grant& grant);
  v1::HeartbeatResponse Heartbeat(const std::string& name, uint64_t incarnation,
                                  const std::vector<v1::Grant>& held);
  v1::JoinTrainingRequest Join(const std::string& name, uint64_t incarnation, const v1::Grant& grant);
  std::string RequestId() { return "request-" + std::to_string(++requests_); }

  /// Leases, computes and completes until the worker gets nothing more; the tasks in order.
  std::vector<v1::TaskKey> Work(const std::string& name, uint64_t incarnation);

 private:
  template <class T>
  T Unwrap(const std::optional<absl::StatusOr<Response>>& answer);
  static void Fail(const std::string& message);
  void Commit(const StepResult& result);

  CoreOptions options_;
  std::unique_ptr<Core> core_;
  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  std::map<std::pair<Table, std::string>, std::string> disk_;
  std::map<std::string, std::string> artifacts_;  // by digest
  std::map<uint64_t, absl::StatusOr<Response>> answers_;
  uint64_t next_id_ = 1;
  int requests_ = 0;
};

template <class T>
T CoreHarness::Unwrap(const std::optional<absl::StatusOr<Response>>& answer) {
  if (!answer.has_value()) {
    Fail("no answer yet");
    return T();
  }
  if (!answer->ok()) {
    Fail(answer->status().ToString());
    return T();
  }
  return std::get<T>(**answer);
}

/// The rows of `disk` that a restart needs, in key order, as Core::Dump() gives them.
std::vector<Row> NeededRows(const std::map<std::pair<Table, std::string>, std::string>& disk);

/// What a fork of the run is called with.
std::vector<Row> ForkRows(const std::map<std::pair<Table, std::string>, std::string>& disk, uint64_t run_id);

}  // namespace rsidiff::coordinator
