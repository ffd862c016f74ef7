#pragma once

#include <deque>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "common/base/backoff.h"
#include "worker/agent/completion_reporter.h"
#include "worker/agent/coordinator_client.h"
#include "worker/agent/lease_table.h"
#include "worker/agent/metrics.h"
#include "worker/agent/session.h"
#include "worker/phase/task.h"

namespace rsidiff::worker {

struct AgentOptions {
  std::string name;
  v1::Capabilities capabilities;
  /// How long the coordinator may hold a request for work before it answers "none yet".
  absl::Duration poll_wait = absl::Seconds(10);
  /// The next task is asked for when the one in progress is done to this share: late enough to leave
  /// the last tasks of a round to idle workers, early enough to hide the round trip.
  double prefetch_at = 0.8;
  /// The agent notifies it when no task may go on, after Stop or a drain's deadline; for what tasks wait in.
  std::shared_ptr<absl::Notification> stop = std::make_shared<absl::Notification>();
};

/// Leases tasks from a coordinator and has a TaskRunner compute them, one at a time. Threads: Run's own
/// computes; one renews leases (Session), one asks for work, one reports results (CompletionReporter).
class Agent {
 public:
  /// `runner` and `metrics` have to outlive the agent.
  Agent(AgentOptions options, const std::shared_ptr<grpc::Channel>& channel, TaskRunner& runner,
        WorkerMetrics& metrics);
  ~Agent();

  /// Works until the worker is drained: OK then. FAILED_PRECONDITION: the coordinator speaks another
  /// protocol version. ABORTED: another process has taken the name. A coordinator that is away is
  /// waited for, at the start too. Call once.
  absl::Status Run();

  /// Take no new task, give back those not begun, finish the one in progress. Any thread; blocks for at
  /// most a few seconds to tell the coordinator.
  void Drain();

  /// As Drain, and gives the task in progress back too. Any thread.
  void Stop();

  /// OK while registered, in contact and not hindered, else why not: for /readyz. A full disk or an absent
  /// artifact store hinders until the next task that it does not stop. Any thread.
  absl::Status Ready() const;

 private:
  void OnSessionChange(const Session::State& state);
  void PollLoop();
  absl::StatusOr<v1::LeaseResponse> PollOnce();
  void TakeGrants(v1::LeaseResponse response);
  std::shared_ptr<Lease> NextLease();
  void Execute(const std::shared_ptr<Lease>& lease);
  void Return(const std::shared_ptr<Lease>& lease);
  void ReturnAndRest(const std::shared_ptr<Lease>& lease, const absl::Status& why);
  void ReturnQueued();
  absl::Status Finish();

  bool Leaving() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  bool WantsWork() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  bool PollMayMove() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  bool ExecutorMayMove() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  bool NotPolling() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !polling_; }

  const AgentOptions options_;
  absl::Notification& stop_;  // options_.stop
  TaskRunner& runner_;
  WorkerMetrics& metrics_;
  CoordinatorClient client_;       // heartbeats, training
  CoordinatorClient poll_client_;  // Lease only, so that leaving can cut the long poll short
  CoordinatorClient report_client_;
  LeaseTable leases_;
  Session session_;
  CompletionReporter reporter_;
  Backoff obstacle_backoff_;  // of Run's thread
  std::thread poll_thread_;

  mutable absl::Mutex mutex_;
  std::deque<std::shared_ptr<Lease>> queue_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<Lease> current_ ABSL_GUARDED_BY(mutex_);
  Session::State session_state_ ABSL_GUARDED_BY(mutex_);
  bool drain_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  bool polling_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status obstacle_ ABSL_GUARDED_BY(mutex_);  // why the latest task was given back
  bool resting_ ABSL_GUARDED_BY(mutex_) = false;   // after that, for a moment
};

}  // namespace rsidiff::worker
