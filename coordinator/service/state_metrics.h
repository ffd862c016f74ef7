#pragma once

#include <prometheus/collectable.h>

#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "coordinator/state/core.h"
#include "rsidiff/v1/coordinator.pb.h"

namespace rsidiff::coordinator {

/// How long a run that has ended keeps its series.
inline constexpr absl::Duration kKeepEnded = absl::Hours(1);

/// What the state metrics are made of, at one moment.
struct StateSnapshot {
  v1::GetInfoResponse info;
  v1::ListRunsResponse runs;  // those that ended longer ago than kKeepEnded may be missing
  std::vector<v1::WorkerRecord> workers;
  CoreStatistics statistics;
  size_t queued_calls = 0;
};

/// The families that describe runs, rounds, tasks and workers; docs/metrics.md lists them. A run that
/// has ended keeps its series for kKeepEnded, then only counts in rsidiff_runs.
std::vector<prometheus::MetricFamily> StateFamilies(const StateSnapshot& snapshot);

/// Takes a snapshot at every scrape. When that fails the scrape has no state families, but all others.
class StateMetrics : public prometheus::Collectable {
 public:
  explicit StateMetrics(std::function<absl::StatusOr<StateSnapshot>()> take) : take_(std::move(take)) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::function<absl::StatusOr<StateSnapshot>()> take_;
};

}  // namespace rsidiff::coordinator
