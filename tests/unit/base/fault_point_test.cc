#include "common/base/fault_point.h"

#include <csignal>
#include <cstdlib>

#include <gtest/gtest.h>

namespace rsidiff {
namespace {

void PassTwice(const char* faults, const char* point) {
  setenv("RSIDIFF_FAULT", faults, /*replace=*/1);
  FaultPoint(point);
  FaultPoint(point);
  std::exit(0);
}

TEST(FaultPointDeathTest, KillsAtTheGivenPassOfTheGivenPoint) {
  EXPECT_EXIT(PassTwice("other:1:kill,point:2:kill", "point"), ::testing::KilledBySignal(SIGKILL), "");
  EXPECT_EXIT(PassTwice("point:3:kill,other:1:kill", "point"), ::testing::ExitedWithCode(0), "");
  EXPECT_EXIT(PassTwice("", "point"), ::testing::ExitedWithCode(0), "");
}

TEST(FaultPointDeathTest, RefusesAListOutOfForm) {
  for (const char* bad : {"point", "point:0:kill", "point:1:explode", "point:x:stop"}) {
    EXPECT_EXIT(PassTwice(bad, "point"), ::testing::ExitedWithCode(2), "RSIDIFF_FAULT is not POINT:N:kill");
  }
}

}  // namespace
}  // namespace rsidiff
