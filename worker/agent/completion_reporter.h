#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "rsidiff/v1/coordinator.pb.h"
#include "worker/agent/coordinator_client.h"
#include "worker/agent/lease_table.h"
#include "worker/agent/session.h"

namespace rsidiff::worker {

/// How a lease ended.
enum class Outcome { kDone, kError, kReturned, kFenced };
inline constexpr Outcome kOutcomes[] = {Outcome::kDone, Outcome::kError, Outcome::kReturned,
                                        Outcome::kFenced};
/// "done", "error", "returned", "fenced".
const char* OutcomeName(Outcome outcome);

/// The end of a lease, to be told to the coordinator.
struct Completion {
  std::shared_ptr<Lease> lease;
  v1::CompleteRequest request;  // outcome and seconds; the reporter fills in the rest
  Outcome outcome = Outcome::kDone;
};

/// Tells the coordinator how leases ended, from a thread of its own and in order, so that the next
/// task need not wait. A call whose answer was lost is sent again with the same request id until it is
/// answered or the lease is lost; a fenced result is dropped, and so is one that the coordinator's check
/// refuses, which has cost the task an error. A lease leaves the table, and stops being renewed, once its end
/// is acknowledged.
class CompletionReporter {
 public:
  /// References have to outlive the reporter. `on_end` is called from its thread with each lease's end
  /// as the coordinator sees it.
  CompletionReporter(std::string worker, CoordinatorClient& client, Session& session, LeaseTable& leases,
                     std::function<void(v1::TaskKind, Outcome)> on_end);
  ~CompletionReporter();

  void Start();
  void Submit(Completion completion);

  /// Blocks until everything submitted was acknowledged or dropped; false when `timeout` passed first.
  bool Flush(absl::Duration timeout);

  /// Ends the thread; what is not acknowledged by then is left to the leases' expiry.
  void Stop();

 private:
  void Loop();
  Outcome Deliver(Completion& completion);
  bool Idle() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return queue_.empty() && !delivering_; }
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return stopping_ || !queue_.empty(); }

  const std::string worker_;
  CoordinatorClient& client_;
  Session& session_;
  LeaseTable& leases_;
  const std::function<void(v1::TaskKind, Outcome)> on_end_;
  absl::Notification stop_;
  std::thread thread_;

  absl::Mutex mutex_;
  std::deque<Completion> queue_ ABSL_GUARDED_BY(mutex_);
  bool delivering_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace rsidiff::worker
