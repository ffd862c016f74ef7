#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace rsidiff::coordinator {

/// What a call answers whose work the pool does not take: UNAVAILABLE, after which callers try again. A full
/// disk, after which they do not, is RESOURCE_EXHAUSTED.
absl::Status Overloaded();

/// Threads for file and database work, which may not block the RPC library's own. Thread-safe.
class IoPool {
 public:
  IoPool(int threads, size_t max_queue);
  ~IoPool();  // runs what is queued, then stops

  /// Queues `job`; false, and it never runs, when the queue is full.
  bool Submit(std::function<void()> job) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !jobs_.empty(); }

  const size_t max_queue_;
  absl::Mutex mutex_;
  std::deque<std::function<void()>> jobs_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace rsidiff::coordinator
