#pragma once

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace rsidiff {

/// What /metrics shows: a registry of counters and histograms that the code moves, and sources that
/// are asked at every scrape. Includes rsidiff_build_info and the process metrics (process_metrics.h).
/// Thread-safe.
class MetricsPage {
 public:
  /// `component` is "coordinator" or "worker".
  explicit MetricsPage(absl::string_view component);

  prometheus::Registry& registry() { return *registry_; }

  /// Adds a source; it is asked at every scrape, from the scraping thread.
  void AddSource(std::shared_ptr<prometheus::Collectable> source) ABSL_LOCKS_EXCLUDED(mutex_);

  /// Everything in the Prometheus text format 0.0.4, families in name order.
  std::string Render() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  std::shared_ptr<prometheus::Registry> registry_;
  mutable absl::Mutex mutex_;
  std::vector<std::shared_ptr<prometheus::Collectable>> sources_ ABSL_GUARDED_BY(mutex_);
};

/// Histogram bounds in seconds, for calls (0.5 ms to 10 s) and for disk syncs (50 us to 1 s).
prometheus::Histogram::BucketBoundaries CallSeconds();
prometheus::Histogram::BucketBoundaries SyncSeconds();

}  // namespace rsidiff
