#pragma once

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

namespace rsidiff {

struct BackoffOptions {
  absl::Duration initial = absl::Milliseconds(100);
  absl::Duration max = absl::Seconds(5);
};

/// Waiting times between attempts with full jitter (Brooker, "Exponential Backoff And Jitter", 2015): uniform
/// in (0, limit], the limit doubling from `initial` to `max`, so that callers that failed together do not
/// come back together. Not thread-safe.
class Backoff {
 public:
  explicit Backoff(BackoffOptions options) : options_(options), limit_(options.initial) {}

  /// How long to wait before the next attempt.
  absl::Duration Next();

  /// Sleeps for Next(). False, at once, when `stop` is notified.
  bool Wait(const absl::Notification& stop) { return !stop.WaitForNotificationWithTimeout(Next()); }

  /// After a success: starts at `initial` again.
  void Reset() { limit_ = options_.initial; }

 private:
  const BackoffOptions options_;
  absl::Duration limit_;
};

}  // namespace rsidiff
