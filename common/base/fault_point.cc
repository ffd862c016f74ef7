#include "common/base/fault_point.h"

#ifdef RSIDIFF_FAULT_POINTS

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"

namespace rsidiff {
namespace {

struct Fault {
  std::string point;
  uint64_t passes_left = 0;
  int signal = 0;
};

class Faults {
 public:
  Faults() {
    const char* text = std::getenv("RSIDIFF_FAULT");
    if (text == nullptr) return;
    for (absl::string_view one : absl::StrSplit(text, ',', absl::SkipEmpty())) Add(one);
  }

  void Pass(absl::string_view point) {
    absl::MutexLock lock(&mutex_);
    for (Fault& fault : faults_) {
      if (fault.point == point && fault.passes_left > 0 && --fault.passes_left == 0) std::raise(fault.signal);
    }
  }

 private:
  void Add(absl::string_view text) {
    const std::vector<std::string> parts = absl::StrSplit(text, ':');
    Fault fault;
    if (parts.size() != 3 || !absl::SimpleAtoi(parts[1], &fault.passes_left) || fault.passes_left == 0 ||
        (parts[2] != "kill" && parts[2] != "stop")) {
      std::fprintf(stderr, "RSIDIFF_FAULT is not POINT:N:kill or POINT:N:stop: %s\n",
                   std::string(text).c_str());
      std::exit(2);
    }
    fault.point = parts[0];
    fault.signal = parts[2] == "kill" ? SIGKILL : SIGSTOP;
    absl::MutexLock lock(&mutex_);
    faults_.push_back(fault);
  }

  absl::Mutex mutex_;
  std::vector<Fault> faults_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

void FaultPoint(absl::string_view point) {
  static Faults& faults = *new Faults;
  faults.Pass(point);
}

}  // namespace rsidiff

#else

namespace rsidiff {

void FaultPoint(absl::string_view) {}

}  // namespace rsidiff

#endif
