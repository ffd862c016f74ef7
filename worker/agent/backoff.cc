#include "worker/agent/backoff.h"

#include <algorithm>

namespace rsidiff::worker {

absl::Duration Backoff::Next() {
  constexpr int kLargestExponent = 20;
  absl::Duration ceiling = std::min(
      options_.limit, options_.first * static_cast<int64_t>(1 << std::min(attempt_, kLargestExponent)));
  ++attempt_;
  return ceiling * absl::Uniform(absl::IntervalOpenClosed, random_, 0.0, 1.0);
}

}  // namespace rsidiff::worker
