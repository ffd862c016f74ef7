#pragma once

#include <functional>
#include <map>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace rsidiff::coordinator {

/// Calls functions later, on one thread of its own. They must not block. Thread-safe.
class Timers {
 public:
  Timers();
  ~Timers();  // stops

  void After(absl::Duration delay, std::function<void()> action) ABSL_LOCKS_EXCLUDED(mutex_);

  /// Drops what has not been called. Further calls, and After, do nothing.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);

  absl::Mutex mutex_;
  absl::CondVar changed_;
  std::multimap<absl::Time, std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace rsidiff::coordinator
