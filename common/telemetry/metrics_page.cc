#include "common/telemetry/metrics_page.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <sstream>

#include "common/telemetry/process_metrics.h"

namespace rsidiff {

MetricsPage::MetricsPage(absl::string_view component) : registry_(std::make_shared<prometheus::Registry>()) {
  prometheus::BuildGauge()
      .Name("rsidiff_build_info")
      .Help("Version of the running binary, always 1")
      .Register(*registry_)
      .Add({{"version", RSIDIFF_VERSION}, {"component", std::string(component)}})
      .Set(1);
  sources_ = {registry_, std::make_shared<ProcessMetrics>()};
}

void MetricsPage::AddSource(std::shared_ptr<prometheus::Collectable> source) {
  absl::MutexLock lock(&mutex_);
  sources_.push_back(std::move(source));
}

std::string MetricsPage::Render() const {
  std::vector<std::shared_ptr<prometheus::Collectable>> sources;
  {
    absl::MutexLock lock(&mutex_);
    sources = sources_;
  }
  std::vector<prometheus::MetricFamily> families;
  for (const auto& source : sources) {
    for (prometheus::MetricFamily& family : source->Collect()) {
      if (!family.metric.empty()) families.push_back(std::move(family));
    }
  }
  std::sort(families.begin(), families.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return out.str();
}

prometheus::Histogram::BucketBoundaries CallSeconds() {
  return {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
}

prometheus::Histogram::BucketBoundaries SyncSeconds() {
  return {0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1};
}

}  // namespace rsidiff
