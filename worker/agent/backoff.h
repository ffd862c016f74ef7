#pragma once

#include "absl/random/random.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

namespace rsidiff::worker {

struct BackoffOptions {
  absl::Duration first = absl::Milliseconds(200);
  absl::Duration limit = absl::Seconds(10);
};

/// Exponential back-off with full jitter (Brooker, "Exponential Backoff And Jitter", 2015): the n-th
/// delay is uniform in (0, min(limit, first * 2^n)]. Not thread-safe.
class Backoff {
 public:
  explicit Backoff(BackoffOptions options) : options_(options) {}

  absl::Duration Next();
  /// After a success: the next delay is a short one again.
  void Reset() { attempt_ = 0; }

  /// Sleeps for Next(). False, at once, when `stop` is notified.
  bool Wait(const absl::Notification& stop) { return !stop.WaitForNotificationWithTimeout(Next()); }

 private:
  const BackoffOptions options_;
  int attempt_ = 0;
  absl::BitGen random_;
};

}  // namespace rsidiff::worker
