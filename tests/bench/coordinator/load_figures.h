#pragma once

#include <atomic>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace rsidiff::coordinator {

/// What a fleet of simulated workers saw. Thread-safe.
class LoadFigures {
 public:
  void CountRegistration() { ++registered_; }
  void CountCompletion() { ++completed_; }
  int registered() const { return registered_; }
  int64_t completed() const { return completed_; }

  /// Calls are timed from now on, or no more.
  void Measure(bool on) { measuring_ = on; }
  void Time(const char* call, absl::Duration took) ABSL_LOCKS_EXCLUDED(mutex_);

  /// Counted also while nothing is measured.
  void CountError(const std::string& what) ABSL_LOCKS_EXCLUDED(mutex_);

  /// {"CALL_ms": {"count", "p50", "p99", "max"}, ..., "errors": {WHAT: COUNT}}
  nlohmann::json ToJson() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  std::atomic<int> registered_{0};
  std::atomic<int64_t> completed_{0};
  std::atomic<bool> measuring_{false};
  absl::Mutex mutex_;
  std::map<std::string, std::vector<float>> milliseconds_ ABSL_GUARDED_BY(mutex_);  // by call
  std::map<std::string, int64_t> errors_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rsidiff::coordinator
