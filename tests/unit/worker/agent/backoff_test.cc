#include "worker/agent/backoff.h"

#include <gtest/gtest.h>

namespace rsidiff::worker {
namespace {

TEST(BackoffTest, CeilingDoublesUpToTheLimit) {
  BackoffOptions options{absl::Seconds(1), absl::Seconds(8)};
  for (int trial = 0; trial < 200; ++trial) {
    Backoff backoff(options);
    for (double ceiling : {1.0, 2.0, 4.0, 8.0, 8.0, 8.0}) {
      absl::Duration delay = backoff.Next();
      EXPECT_GT(delay, absl::ZeroDuration());
      EXPECT_LE(delay, absl::Seconds(ceiling));
    }
  }
}

TEST(BackoffTest, JitterCoversTheWholeRange) {
  double least = 1;
  double most = 0;
  for (int trial = 0; trial < 500; ++trial) {
    Backoff backoff({absl::Seconds(1), absl::Seconds(1)});
    double seconds = absl::ToDoubleSeconds(backoff.Next());
    least = std::min(least, seconds);
    most = std::max(most, seconds);
  }
  EXPECT_LT(least, 0.1);
  EXPECT_GT(most, 0.9);
}

TEST(BackoffTest, ResetStartsOver) {
  Backoff backoff({absl::Milliseconds(1), absl::Hours(1)});
  for (int i = 0; i < 100; ++i) backoff.Next();  // no overflow either
  backoff.Reset();
  EXPECT_LE(backoff.Next(), absl::Milliseconds(1));
}

TEST(BackoffTest, WaitEndsAtTheNotification) {
  absl::Notification stop;
  stop.Notify();
  Backoff backoff({absl::Hours(1), absl::Hours(1)});
  EXPECT_FALSE(backoff.Wait(stop));
}

}  // namespace
}  // namespace rsidiff::worker
