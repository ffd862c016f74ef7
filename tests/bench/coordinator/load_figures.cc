#include "tests/bench/coordinator/load_figures.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace rsidiff::coordinator {

void LoadFigures::Time(const char* call, absl::Duration took) {
  if (!measuring_) return;
  absl::MutexLock lock(&mutex_);
  milliseconds_[call].push_back(static_cast<float>(absl::ToDoubleMilliseconds(took)));
}

void LoadFigures::CountError(const std::string& what) {
  absl::MutexLock lock(&mutex_);
  ++errors_[what];
}

nlohmann::json LoadFigures::ToJson() {
  absl::MutexLock lock(&mutex_);
  nlohmann::json figures = {{"errors", errors_}};
  for (auto& [call, times] : milliseconds_) {
    std::sort(times.begin(), times.end());
    auto quantile = [&times = times](double q) { return times[static_cast<size_t>(q * (times.size() - 1))]; };
    figures[absl::StrCat(call, "_ms")] = {
        {"count", times.size()}, {"p50", quantile(0.5)}, {"p99", quantile(0.99)}, {"max", times.back()}};
  }
  return figures;
}

}  // namespace rsidiff::coordinator
