#include "coordinator/service/service_metrics.h"

#include <string>

namespace rsidiff::coordinator {
namespace {

prometheus::Family<prometheus::Counter>& Counters(MetricsPage* page, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(page->registry());
}

prometheus::Family<prometheus::Histogram>& Histograms(MetricsPage* page, const char* name, const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(page->registry());
}

prometheus::Counter& ArtifactBytes(MetricsPage* page, const char* direction) {
  return Counters(page, "rsidiff_artifact_bytes_total", "Artifact bytes streamed through the coordinator")
      .Add({{"direction", direction}});
}

}  // namespace

ServiceMetrics::ServiceMetrics(MetricsPage* page)
    : calls_(Counters(page, "rsidiff_rpc_total", "Finished calls by method and status code")),
      call_seconds_(Histograms(page, "rsidiff_rpc_seconds", "Time from a call's arrival to its answer")),
      commit_seconds_(Histograms(page, "rsidiff_commit_seconds", "Time of a database write, by durability")),
      commit_steps_(Histograms(page, "rsidiff_commit_steps", "Steps of the core merged into a database write")
                        .Add({}, prometheus::Histogram::BucketBoundaries{1, 2, 4, 8, 16, 32, 64, 128, 256})),
      received_(ArtifactBytes(page, "received")),
      sent_(ArtifactBytes(page, "sent")) {}

void ServiceMetrics::CountCall(absl::string_view method, absl::StatusCode code, absl::Duration time) {
  calls_.Add({{"method", std::string(method)}, {"code", absl::StatusCodeToString(code)}}).Increment();
  call_seconds_.Add({{"method", std::string(method)}}, CallSeconds()).Observe(absl::ToDoubleSeconds(time));
}

void ServiceMetrics::CountCommit(const CommitReport& report) {
  const char* durability = report.durability == Durability::kPowerLoss ? "synced" : "written";
  commit_seconds_.Add({{"durability", durability}}, SyncSeconds())
      .Observe(absl::ToDoubleSeconds(report.time));
  commit_steps_.Observe(static_cast<double>(report.steps));
}

}  // namespace rsidiff::coordinator
