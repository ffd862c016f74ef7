#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace rsidiff::coordinator {

/// How a lease ended without a result.
enum class LeaseEnd {
  kLost,      // the worker was not heard of, or was replaced
  kError,     // the worker reported an error, or a result that cannot be
  kReturned,  // given back unharmed
  kForgotten  // held before a coordinator restart and not asserted again
};

struct RetryBudgets {
  int max_lost_attempts = 10;
  int max_error_attempts = 3;
};

enum class RetryVerdict { kRetry, kFail };

/// Whether a task goes on after a lease ended; `lost` and `errors` already count this end. Returned and
/// forgotten leases never fail a task.
RetryVerdict JudgeRetry(LeaseEnd end, uint32_t lost, uint32_t errors, const RetryBudgets& budgets);

inline constexpr absl::Duration kMaxBackoff = absl::Seconds(60);

/// Full-jitter back-off before attempt `attempt` + 1 (attempt >= 1): uniform in
/// [0, min(kMaxBackoff, 1 s * 2^(attempt - 1))), drawn from Hash64("back-off", {salt, attempt}).
absl::Duration Backoff(uint32_t attempt, uint64_t salt);

}  // namespace rsidiff::coordinator
