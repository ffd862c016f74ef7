#include "coordinator/schedule/retry.h"

#include <algorithm>

#include "common/base/seed.h"

namespace rsidiff::coordinator {

RetryVerdict JudgeRetry(LeaseEnd end, uint32_t lost, uint32_t errors, const RetryBudgets& budgets) {
  bool spent = (end == LeaseEnd::kLost && lost >= static_cast<uint32_t>(budgets.max_lost_attempts)) ||
               (end == LeaseEnd::kError && errors >= static_cast<uint32_t>(budgets.max_error_attempts));
  return spent ? RetryVerdict::kFail : RetryVerdict::kRetry;
}

absl::Duration Backoff(uint32_t attempt, uint64_t salt) {
  int64_t limit_ms =
      std::min<int64_t>(absl::ToInt64Milliseconds(kMaxBackoff),
                        int64_t{1'000} << std::min<uint32_t>(attempt > 0 ? attempt - 1 : 0, 6));
  return absl::Milliseconds(static_cast<int64_t>(Hash64("back-off", {salt, attempt}) % limit_ms));
}

}  // namespace rsidiff::coordinator
