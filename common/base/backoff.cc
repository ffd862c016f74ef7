#include "common/base/backoff.h"

#include <algorithm>
#include <random>

namespace rsidiff {

absl::Duration Backoff::Next() {
  thread_local std::mt19937_64 generator{std::random_device()()};
  double share = 1.0 - std::uniform_real_distribution<double>(0.0, 1.0)(generator);
  absl::Duration wait = limit_ * share;
  limit_ = std::min(limit_ * 2, options_.max);
  return wait;
}

}  // namespace rsidiff
