#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/synchronization/notification.h"
#include "worker/agent/coordinator_client.h"
#include "worker/agent/lease_table.h"
#include "worker/agent/metrics.h"
#include "worker/agent/session.h"
#include "worker/phase/task.h"

namespace rsidiff::worker {

/// A leased task's line to the coordinator. Thread-safe.
class RunningTask : public TaskControl {
 public:
  struct Surroundings {
    const std::string& worker;
    CoordinatorClient& client;
    Session& session;
    WorkerMetrics& metrics;
    const absl::Notification& stop;
    std::function<void()> on_progress;
  };

  RunningTask(std::shared_ptr<Lease> lease, Surroundings surroundings)
      : lease_(std::move(lease)), around_(std::move(surroundings)) {}

  bool cancelled() const override;
  void ReportProgress(double fraction) override;
  void Warn(const std::string& sentence) override;
  void ReportStep(uint64_t generation, uint64_t step, double loss) override;
  void ReportRegroup(RegroupCause cause, double seconds) override;
  bool regroup_requested() const override;
  absl::StatusOr<v1::JoinTrainingResponse> JoinTraining(const TrainingPosition& position) override;
  absl::Status CommitCheckpoint(uint64_t generation, uint64_t step, const std::string& digest) override;

 private:
  v1::JoinTrainingRequest JoinRequest(const TrainingPosition& position) const;

  const std::shared_ptr<Lease> lease_;
  const Surroundings around_;
};

}  // namespace rsidiff::worker
