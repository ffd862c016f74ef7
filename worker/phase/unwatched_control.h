#pragma once

#include <string>

#include "absl/status/status.h"
#include "worker/phase/task.h"

namespace rsidiff::worker {

/// For a task that nobody cancels or watches, and that is no training.
class UnwatchedControl : public TaskControl {
 public:
  bool cancelled() const override { return false; }
  void ReportProgress(double) override {}
  void Warn(const std::string&) override {}
  void ReportStep(uint64_t, uint64_t, double) override {}
  void ReportRegroup(RegroupCause, double) override {}
  bool regroup_requested() const override { return false; }
  absl::StatusOr<v1::JoinTrainingResponse> JoinTraining(const TrainingPosition&) override {
    return absl::FailedPreconditionError("a training is not computed alone");
  }
  absl::Status CommitCheckpoint(uint64_t, uint64_t, const std::string&) override {
    return absl::FailedPreconditionError("a training is not computed alone");
  }
};

}  // namespace rsidiff::worker
