#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "rsidiff/v1/round.pb.h"
#include "worker/agent/completion_reporter.h"
#include "worker/phase/task.h"

namespace rsidiff::worker {

/// The worker's own families (docs/metrics.md); the time of the task in progress counts at every
/// scrape, not only when it ends. Thread-safe.
class WorkerMetrics : public prometheus::Collectable {
 public:
  /// `device_memory` gives the device's used bytes, 0 where there is no such figure; asked at scrapes.
  explicit WorkerMetrics(std::function<uint64_t()> device_memory);

  /// From here on the worker is busy with `kind`.
  void BeginTask(v1::TaskKind kind);
  /// Idle again.
  void EndTask();
  void CountOutcome(v1::TaskKind kind, Outcome outcome);
  void CountSamples(v1::TaskKind kind, uint64_t samples);
  /// A training step was applied.
  void SetTraining(uint64_t step, double loss);
  void CountRegroup(RegroupCause cause, double seconds);
  void CountRegistration();

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  using Clock = std::chrono::steady_clock;

  double SinceChange() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  const std::function<uint64_t()> device_memory_;
  mutable absl::Mutex mutex_;
  v1::TaskKind current_ ABSL_GUARDED_BY(mutex_) = v1::TASK_KIND_UNSPECIFIED;  // idle
  Clock::time_point changed_ ABSL_GUARDED_BY(mutex_) = Clock::now();
  double idle_seconds_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<v1::TaskKind, double> busy_seconds_ ABSL_GUARDED_BY(mutex_);
  std::map<v1::TaskKind, uint64_t> samples_ ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<v1::TaskKind, Outcome>, uint64_t> outcomes_ ABSL_GUARDED_BY(mutex_);
  uint64_t training_step_ ABSL_GUARDED_BY(mutex_) = 0;
  double training_loss_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t training_steps_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<RegroupCause, uint64_t> regroups_ ABSL_GUARDED_BY(mutex_);
  std::map<RegroupCause, double> regroup_seconds_ ABSL_GUARDED_BY(mutex_);
  uint64_t registrations_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace rsidiff::worker
