#include "common/telemetry/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <iterator>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/telemetry/family_builder.h"

namespace rsidiff {
namespace {

using prometheus::MetricType;

// The fields of /proc/self/stat after the command's name, which may hold blanks and brackets.
std::vector<std::string> StatFields() {
  absl::StatusOr<std::string> stat = ReadFile("/proc/self/stat");
  if (!stat.ok()) return {};
  size_t name_end = stat->rfind(')');
  if (name_end == std::string::npos) return {};
  return absl::StrSplit(absl::string_view(*stat).substr(name_end + 1), absl::ByAnyChar(" \n"),
                        absl::SkipEmpty());
}

// Field `number` of proc(5), counted from 1; the first one after the name is 3.
std::optional<double> StatField(const std::vector<std::string>& fields, size_t number) {
  double value = 0;
  if (number - 3 >= fields.size() || !absl::SimpleAtod(fields[number - 3], &value)) return std::nullopt;
  return value;
}

std::optional<double> BootTime() {
  absl::StatusOr<std::string> stat = ReadFile("/proc/stat");
  if (!stat.ok()) return std::nullopt;
  size_t at = stat->find("\nbtime ");
  double value = 0;
  if (at == std::string::npos) return std::nullopt;
  std::string line = stat->substr(at + 7, stat->find('\n', at + 7) - at - 7);
  if (!absl::SimpleAtod(line, &value)) return std::nullopt;
  return value;
}

std::optional<double> OpenDescriptors() {
  std::error_code error;
  std::filesystem::directory_iterator folder("/proc/self/fd", error);
  if (error) return std::nullopt;
  // One of them is the listing's own.
  return static_cast<double>(std::distance(begin(folder), end(folder))) - 1;
}

}  // namespace

std::vector<prometheus::MetricFamily> ProcessMetrics::Collect() const {
  std::vector<prometheus::MetricFamily> families;
  std::vector<std::string> fields = StatFields();
  double ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  auto user = StatField(fields, 14), system = StatField(fields, 15), start = StatField(fields, 22);
  auto virtual_bytes = StatField(fields, 23), resident_pages = StatField(fields, 24);
  if (user && system) {
    families.push_back(SingleValue("process_cpu_seconds_total",
                                   "User and system processor time spent in seconds", MetricType::Counter,
                                   (*user + *system) / ticks));
  }
  if (auto boot = BootTime(); boot && start) {
    families.push_back(SingleValue("process_start_time_seconds",
                                   "Start of the process, seconds since the Unix epoch", MetricType::Gauge,
                                   *boot + *start / ticks));
  }
  if (virtual_bytes) {
    families.push_back(SingleValue("process_virtual_memory_bytes", "Virtual memory size in bytes",
                                   MetricType::Gauge, *virtual_bytes));
  }
  if (resident_pages) {
    families.push_back(SingleValue("process_resident_memory_bytes", "Resident memory size in bytes",
                                   MetricType::Gauge,
                                   *resident_pages * static_cast<double>(sysconf(_SC_PAGESIZE))));
  }
  if (auto open = OpenDescriptors()) {
    families.push_back(SingleValue("process_open_fds", "Open file descriptors", MetricType::Gauge, *open));
  }
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    families.push_back(SingleValue("process_max_fds", "Most file descriptors that may be open",
                                   MetricType::Gauge, static_cast<double>(limit.rlim_cur)));
  }
  return families;
}

}  // namespace rsidiff
