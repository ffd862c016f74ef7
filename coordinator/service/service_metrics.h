#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/telemetry/metrics_page.h"
#include "coordinator/service/commit_pipeline.h"

namespace rsidiff::coordinator {

/// Metrics that the adapters and the commit thread move as things happen; docs/metrics.md lists them.
/// Thread-safe.
class ServiceMetrics {
 public:
  /// `page` outlives this.
  explicit ServiceMetrics(MetricsPage* page);

  /// One finished call, `method` without its service's name.
  void CountCall(absl::string_view method, absl::StatusCode code, absl::Duration time);
  void CountCommit(const CommitReport& report);
  void CountArtifactBytesReceived(uint64_t bytes) { received_.Increment(static_cast<double>(bytes)); }
  void CountArtifactBytesSent(uint64_t bytes) { sent_.Increment(static_cast<double>(bytes)); }

 private:
  prometheus::Family<prometheus::Counter>& calls_;
  prometheus::Family<prometheus::Histogram>& call_seconds_;
  prometheus::Family<prometheus::Histogram>& commit_seconds_;
  prometheus::Histogram& commit_steps_;
  prometheus::Counter& received_;
  prometheus::Counter& sent_;
};

}  // namespace rsidiff::coordinator
