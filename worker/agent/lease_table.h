#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/telemetry/log.h"
#include "rsidiff/v1/coordinator.pb.h"

namespace rsidiff::worker {

/// A lease that this worker holds, from the grant until its completion is acknowledged. Thread-safe.
class Lease {
 public:
  explicit Lease(v1::Grant grant) : grant_(std::move(grant)) {}

  const v1::Grant& grant() const { return grant_; }
  uint64_t token() const { return grant_.token(); }
  v1::TaskKind kind() const { return grant_.task().kind(); }

  /// What a heartbeat says about it.
  v1::HeldLease Held() const;

  void SetProgress(double fraction);
  double progress() const;
  void SetStep(uint64_t generation, uint64_t step, double loss);

  /// A generation was joined; a wish to regroup that concerned an earlier one is settled.
  void EnterGeneration(uint64_t generation);
  /// The coordinator's wish, as the answer to a heartbeat that reported `generation`. Ignored when a
  /// newer generation has been joined meanwhile.
  void SetRegroup(uint64_t generation, bool requested);
  bool regroup_requested() const;

  /// The coordinator gave the task to somebody else; the result is not wanted.
  void Drop();
  bool dropped() const;

 private:
  const v1::Grant grant_;
  mutable absl::Mutex mutex_;
  double progress_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t generation_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t step_ ABSL_GUARDED_BY(mutex_) = 0;
  double loss_ ABSL_GUARDED_BY(mutex_) = 0;
  bool regroup_requested_ ABSL_GUARDED_BY(mutex_) = false;
  bool dropped_ ABSL_GUARDED_BY(mutex_) = false;
};

/// Run, round and task for log lines.
LogFields LogFieldsOf(const Lease& lease);

/// The leases that heartbeats renew. Thread-safe.
class LeaseTable {
 public:
  /// The lease of this grant; a token that is held already keeps its lease.
  std::shared_ptr<Lease> Add(v1::Grant grant);
  void Remove(uint64_t token);

  /// Marks the leases as dropped and forgets them. Tokens that are not held are ignored.
  void Drop(const std::vector<uint64_t>& tokens);
  void DropAll();

  /// Takes over the level-triggered part of an answer: dropped and regrouping leases among those that
  /// the heartbeat `sent` named.
  void Apply(const v1::HeartbeatRequest& sent, const v1::HeartbeatResponse& answer);

  std::vector<v1::HeldLease> Held() const;

 private:
  mutable absl::Mutex mutex_;
  std::map<uint64_t, std::shared_ptr<Lease>> leases_ ABSL_GUARDED_BY(mutex_);  // keyed by token
};

}  // namespace rsidiff::worker
