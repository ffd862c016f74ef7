#include "worker/phase/task.h"

#include <gtest/gtest.h>

namespace rsidiff::worker {
namespace {

TEST(TaskNameTest, SaysWhichTask) {
  v1::TaskKey task;
  task.set_run_id(4);
  task.set_round(2);
  task.set_kind(v1::TASK_KIND_FIT_REFERENCE);
  task.set_index(1);
  EXPECT_EQ(TaskName(task), "fit_reference task 1 of run 4, round 2");
  task.set_purpose(v1::PURPOSE_EVALUATION);
  EXPECT_EQ(TaskName(task), "fit_reference task 1 of run 4, round 2 (evaluation)");
}

}  // namespace
}  // namespace rsidiff::worker
