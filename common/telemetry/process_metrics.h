#pragma once

#include <prometheus/collectable.h>

#include <vector>

namespace rsidiff {

/// The process_* families that Prometheus client libraries agree on: processor seconds, resident and
/// virtual memory, open and permitted file descriptors, start time. Read from /proc at every scrape;
/// what cannot be read is left out.
class ProcessMetrics : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace rsidiff
