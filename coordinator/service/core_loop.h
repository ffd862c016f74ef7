#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "coordinator/service/commit_pipeline.h"
#include "coordinator/state/core.h"

namespace rsidiff::coordinator {

/// A call that waits for its answer.
struct PendingCall {
  Request request;
  /// Called exactly once, from any thread, possibly before CoreLoop::Call returns. Must not block.
  std::function<void(absl::StatusOr<Response>)> done;
  /// True when nobody waits any more: a call that is still queued is dropped. May be empty.
  std::function<bool()> abandoned;
};

struct CoreLoopOptions {
  /// The coordinator's clock; never goes back.
  std::function<absl::Time()> now;
  ArtifactStore* artifacts = nullptr;  // not owned
  WriteRows write;
  /// Called once when a write failed, after every waiting call has been answered. Any thread; must not
  /// call the loop's Stop.
  std::function<void(const absl::Status&)> on_failure;
  std::function<void(const CommitReport&)> on_commit;
  size_t max_queue = 10'000;
};

/// Runs the core: one thread owns it and takes calls from a bounded queue, a commit thread
/// (CommitPipeline) makes the steps durable and releases the answers, so nothing is acknowledged that
/// is not written, and nothing is read that could be lost. After a failed write every call gets
/// UNAVAILABLE. Thread-safe.
class CoreLoop {
 public:
  /// Writes `recovery`, what Core::Recover wants stored, before it returns; its error is that write's.
  static absl::StatusOr<std::unique_ptr<CoreLoop>> Start(std::unique_ptr<Core> core, StepResult recovery,
                                                         CoreLoopOptions options);
  ~CoreLoop();  // stops

  /// Queues a call and returns its number. RESOURCE_EXHAUSTED: the queue is full. UNAVAILABLE: stopping,
  /// or a write failed.
  uint64_t Call(PendingCall call) ABSL_LOCKS_EXCLUDED(mutex_);

  /// The answer to call `id` cannot arrive: what was granted to it goes back. If it waits still, it is
  /// answered with CANCELLED.
  void Cancel(uint64_t id) ABSL_LOCKS_EXCLUDED(mutex_);

  /// Queues a call and waits for its answer; DEADLINE_EXCEEDED after `timeout`. Not from a gRPC thread.
  absl::StatusOr<Response> CallAndWait(Request request, absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mutex_);

  /// The core's counters, as of its last step.
  CoreStatistics statistics() const ABSL_LOCKS_EXCLUDED(mutex_);

  size_t queue_size() const ABSL_LOCKS_EXCLUDED(mutex_);

  /// OK, or why calls are refused.
  absl::Status health() const ABSL_LOCKS_EXCLUDED(mutex_);

  /// Takes no more calls, finishes the queued ones, commits, and answers the long polls with UNAVAILABLE.
  /// Further calls do nothing.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  CoreLoop(std::unique_ptr<Core> core, CoreLoopOptions options);

  struct QueuedCall {
    uint64_t id = 0;
    PendingCall call;
  };

  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  void Step(QueuedCall queued) ABSL_LOCKS_EXCLUDED(mutex_);
  void Tick();
  // True while the disk is behind with artifacts, so that a Tick, which may make more of them, is put off.
  // Calls pass the time as well.
  bool ArtifactsFirst() const;
  void Release(std::vector<Reply> replies) ABSL_LOCKS_EXCLUDED(mutex_);
  void Fail(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  // Refuses new calls with `status` and answers the queued and the waiting ones with it.
  void Refuse(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !queue_.empty(); }

  const CoreLoopOptions options_;
  std::unique_ptr<Core> core_;  // core thread only, once it runs

  mutable absl::Mutex mutex_;
  uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  std::deque<QueuedCall> queue_ ABSL_GUARDED_BY(mutex_);
  // Keyed by Event.id; stepped and not answered yet.
  std::unordered_map<uint64_t, std::function<void(absl::StatusOr<Response>)>> waiting_
      ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool failed_ ABSL_GUARDED_BY(mutex_) = false;
  // Not OK once new calls are refused.
  absl::Status refusal_ ABSL_GUARDED_BY(mutex_);
  CoreStatistics statistics_ ABSL_GUARDED_BY(mutex_);

  std::unique_ptr<CommitPipeline> pipeline_;
  std::thread thread_;
};

/// A clock that starts at the wall clock's time and then advances steadily, whatever is done to the wall
/// clock.
std::function<absl::Time()> SteadyClock();

}  // namespace rsidiff::coordinator
