#include "worker/agent/metrics.h"

#include <gtest/gtest.h>

#include "absl/time/clock.h"

namespace rsidiff::worker {
namespace {

double Value(const WorkerMetrics& metrics, const std::string& name, const std::string& kind) {
  for (const prometheus::MetricFamily& family : metrics.Collect()) {
    if (family.name != name) continue;
    for (const prometheus::ClientMetric& metric : family.metric) {
      if (!kind.empty() && metric.label[0].value != kind) continue;
      return family.type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value;
    }
  }
  ADD_FAILURE() << name << " " << kind << " is not there";
  return -1;
}

TEST(WorkerMetricsTest, TheTaskInProgressCountsAtEveryScrape) {
  WorkerMetrics metrics([] { return uint64_t{5}; });
  metrics.BeginTask(v1::TASK_KIND_TRAIN);
  metrics.SetTraining(3, 0.5);
  absl::SleepFor(absl::Milliseconds(2));
  double busy = Value(metrics, "rsidiff_worker_busy_seconds_total", "train");
  EXPECT_GT(busy, 0);
  EXPECT_EQ(Value(metrics, "rsidiff_worker_current_task", "train"), 1);
  EXPECT_EQ(Value(metrics, "rsidiff_worker_training_step", ""), 3);
  EXPECT_EQ(Value(metrics, "rsidiff_worker_training_loss", ""), 0.5);
  metrics.EndTask();
  EXPECT_GE(Value(metrics, "rsidiff_worker_busy_seconds_total", "train"), busy);
  EXPECT_EQ(Value(metrics, "rsidiff_worker_current_task", "train"), 0);
  EXPECT_EQ(Value(metrics, "rsidiff_worker_busy_seconds_total", "score"), 0);
  EXPECT_EQ(Value(metrics, "rsidiff_worker_device_memory_bytes", ""), 5);
}

}  // namespace
}  // namespace rsidiff::worker
