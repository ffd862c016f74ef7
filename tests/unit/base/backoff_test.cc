#include "common/base/backoff.h"

#include <gtest/gtest.h>

namespace rsidiff {
namespace {

TEST(Backoff, StaysWithinADoublingLimitThatEndsAtMax) {
  Backoff backoff({absl::Milliseconds(100), absl::Milliseconds(450)});
  for (int limit_ms : {100, 200, 400, 450, 450, 450}) {
    absl::Duration wait = backoff.Next();
    EXPECT_GT(wait, absl::ZeroDuration());
    EXPECT_LE(wait, absl::Milliseconds(limit_ms));
  }
}

TEST(Backoff, ResetStartsAgain) {
  Backoff backoff({absl::Milliseconds(1), absl::Hours(1)});
  for (int i = 0; i < 20; ++i) backoff.Next();
  backoff.Reset();
  EXPECT_LE(backoff.Next(), absl::Milliseconds(1));
}

TEST(Backoff, WaitEndsAtTheNotification) {
  absl::Notification stop;
  stop.Notify();
  Backoff backoff({absl::Hours(1), absl::Hours(1)});
  EXPECT_FALSE(backoff.Wait(stop));
}

}  // namespace
}  // namespace rsidiff
