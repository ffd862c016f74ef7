#include "common/telemetry/metrics_page.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <regex>
#include <string>

#include "common/base/digest.h"

namespace rsidiff {
namespace {

double Value(const std::string& page, const std::string& series) {
  size_t at = page.find("\n" + series + " ");
  return at == std::string::npos ? -1 : std::stod(page.substr(at + series.size() + 2));
}

TEST(MetricsPage, ShowsBuildAndProcess) {
  MetricsPage page("worker");
  std::string text = page.Render();
  EXPECT_EQ(Value(text, "rsidiff_build_info{component=\"worker\",version=\"" RSIDIFF_VERSION "\"}"), 1)
      << text;
  // This process takes more than a megabyte and less than ten gigabytes, and was started lately.
  EXPECT_GT(Value(text, "process_resident_memory_bytes"), 1e6);
  EXPECT_LT(Value(text, "process_resident_memory_bytes"), 1e10);
  EXPECT_NEAR(Value(text, "process_start_time_seconds"), static_cast<double>(time(nullptr)), 3600);
  EXPECT_GE(Value(text, "process_open_fds"), 3);
  EXPECT_GE(Value(text, "process_max_fds"), Value(text, "process_open_fds"));
}

TEST(MetricsPage, OpenDescriptorsAreCounted) {
  MetricsPage page("worker");
  double before = Value(page.Render(), "process_open_fds");
  int fd = dup(1);
  EXPECT_EQ(Value(page.Render(), "process_open_fds"), before + 1);
  close(fd);
}

TEST(MetricsPage, ShowsRegistryAndSources) {
  class Source : public prometheus::Collectable {
   public:
    std::vector<prometheus::MetricFamily> Collect() const override {
      prometheus::ClientMetric metric;
      metric.gauge.value = ++calls_;
      return {{"rsidiff_source", "Calls", prometheus::MetricType::Gauge, {metric}},
              {"rsidiff_empty", "Nothing", prometheus::MetricType::Gauge, {}}};
    }
    mutable int calls_ = 0;
  };
  MetricsPage page("worker");
  page.AddSource(std::make_shared<Source>());
  prometheus::BuildCounter()
      .Name("rsidiff_own_total")
      .Help("Own")
      .Register(page.registry())
      .Add({})
      .Increment(2);
  std::string text = page.Render();
  EXPECT_EQ(Value(text, "rsidiff_own_total"), 2);
  EXPECT_EQ(Value(text, "rsidiff_source"), 1);
  EXPECT_EQ(Value(page.Render(), "rsidiff_source"), 2);
  EXPECT_EQ(text.find("rsidiff_empty"), std::string::npos);
}

TEST(MetricsPage, BucketsGrow) {
  for (const auto& bounds : {CallSeconds(), SyncSeconds()}) {
    EXPECT_TRUE(std::is_sorted(bounds.begin(), bounds.end()));
    EXPECT_GT(bounds.front(), 0);
  }
}

}  // namespace
}  // namespace rsidiff
