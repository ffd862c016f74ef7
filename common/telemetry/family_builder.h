#pragma once

#include <prometheus/metric_family.h>

#include <string>
#include <utility>
#include <vector>

namespace rsidiff {

/// One metric family that is made anew at every scrape.
class FamilyBuilder {
 public:
  using Labels = std::vector<std::pair<std::string, std::string>>;

  FamilyBuilder(std::string name, std::string help, prometheus::MetricType type)
      : family_{std::move(name), std::move(help), type, {}} {}

  void Add(const Labels& labels, double value) {
    prometheus::ClientMetric metric;
    for (const auto& [name, text] : labels) metric.label.push_back({name, text});
    (family_.type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    family_.metric.push_back(std::move(metric));
  }

  prometheus::MetricFamily Build() { return std::move(family_); }

 private:
  prometheus::MetricFamily family_;
};

/// A family of one value, without labels.
inline prometheus::MetricFamily SingleValue(std::string name, std::string help, prometheus::MetricType type,
                                            double value) {
  FamilyBuilder family(std::move(name), std::move(help), type);
  family.Add({}, value);
  return family.Build();
}

}  // namespace rsidiff
