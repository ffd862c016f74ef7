#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "rsidiff/v1/coordinator.pb.h"
#include "worker/agent/coordinator_client.h"
#include "worker/agent/lease_table.h"

namespace rsidiff::worker {

struct SessionOptions {
  std::string name;
  v1::Capabilities capabilities;
  absl::Duration call_timeout = absl::Seconds(5);
};

/// This process's standing with the coordinator: registration, heartbeats, lease renewal.
///
///   NEW --Register--> REGISTERED --heartbeats--> REGISTERED
///   REGISTERED --call lost (UNAVAILABLE)--> UNSURE --Register(incarnation, held)--> REGISTERED
///   REGISTERED --NOT_FOUND--> UNSURE            the coordinator does not know the worker
///   REGISTERED --ABORTED--> UNSURE              all leases are dropped first
///   any --FAILED_PRECONDITION, INVALID_ARGUMENT, or ABORTED of Register--> FAILED
///                                               for good, so that all leases are dropped
///
/// One thread owns the transitions; every public method is thread-safe.
class Session {
 public:
  struct State {
    uint64_t incarnation = 0;
    uint64_t registrations = 0;  // how often Register succeeded
    bool draining = false;       // by the coordinator's wish
    std::optional<std::chrono::steady_clock::time_point> drain_deadline;
    absl::Status status;  // not OK: over for good
  };

  /// `client` and `leases` have to outlive the session. `on_change` is called from the session's thread
  /// after every answer.
  Session(SessionOptions options, CoordinatorClient& client, LeaseTable& leases,
          std::function<void(const State&)> on_change);
  ~Session();

  /// Starts the thread, which registers first, as often as it takes.
  void Start();

  /// Ends the thread; no call is sent after it returns.
  void Stop();

  State state() const;

  /// Another call was told NOT_FOUND or ABORTED about this worker: look again now.
  void RequestRegistration();

  /// Sends a heartbeat now.
  void RequestHeartbeat();

  /// True while the leases surely hold: registered, and the last renewal is younger than two thirds of
  /// a lease's life. No work starts while it is false.
  bool InContact() const;

 private:
  using Clock = std::chrono::steady_clock;

  void Loop();
  void RegisterOnce();
  void HeartbeatOnce();
  void Fail(const absl::Status& status);
  void Lose(const std::string& why);
  void Publish();
  absl::Duration HeartbeatInterval() const;
  void Pause(absl::Duration duration);
  /// Waits until there is a connection, at most for `limit`.
  void AwaitContact(absl::Duration limit);

  const SessionOptions options_;
  CoordinatorClient& client_;
  LeaseTable& leases_;
  const std::function<void(const State&)> on_change_;
  absl::Notification stop_;
  std::thread thread_;

  mutable absl::Mutex mutex_;
  State state_ ABSL_GUARDED_BY(mutex_);
  bool registered_ ABSL_GUARDED_BY(mutex_) = false;
  bool wake_ ABSL_GUARDED_BY(mutex_) = false;
  bool reported_unreachable_ ABSL_GUARDED_BY(mutex_) = false;
  std::string request_id_ ABSL_GUARDED_BY(mutex_);  // of the registration being tried
  absl::Duration ttl_ ABSL_GUARDED_BY(mutex_) = absl::Seconds(15);
  Clock::time_point renewed_ ABSL_GUARDED_BY(mutex_);
  int fenced_in_a_row_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace rsidiff::worker
