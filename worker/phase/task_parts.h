#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/status/status.h"
#include "worker/phase/task.h"

namespace rsidiff::worker {

/// Counts the parts of a task that are done one after the other and taken as equal.
class TaskParts {
 public:
  /// `control` has to outlive this.
  TaskParts(TaskControl& control, int64_t parts) : control_(control), parts_(std::max<int64_t>(1, parts)) {}

  /// Before each part: the ones begun before it are reported as done. CANCELLED, and the task is to end, once
  /// its result is not wanted any more.
  absl::Status Begin() {
    if (control_.cancelled()) return absl::CancelledError("the result is not wanted any more");
    control_.ReportProgress(std::min(1.0, static_cast<double>(begun_++) / static_cast<double>(parts_)));
    return absl::OkStatus();
  }

 private:
  TaskControl& control_;
  const int64_t parts_;
  int64_t begun_ = 0;
};

}  // namespace rsidiff::worker
