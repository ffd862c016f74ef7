#pragma once

#include <cstdint>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "coordinator/service/core_loop.h"
#include "tests/unit/coordinator/fake_requests.h"

namespace rsidiff::coordinator {

/// Asks for a task every few milliseconds, whether or not the calls before are answered, and gives back what
/// it gets. A wait counts from the time that the call was due, so that a stall counts for every call that
/// would have come meanwhile. Takes pictures to draw of runs that ask for the label kLabel.
class LeaseProber {
 public:
  static constexpr char kLabel[] = "prober";

  explicit LeaseProber(CoreLoop& loop);
  ~LeaseProber();

  /// How long each call took that was due since the last look; waits for those that are not answered yet.
  std::vector<absl::Duration> TakeWaits() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  void Ask(absl::Time due) ABSL_LOCKS_EXCLUDED(mutex_);
  void GiveBack(const v1::LeaseResponse& leased);

  CoreLoop& loop_;
  WorkerIdentity identity_;
  absl::Mutex mutex_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t asked_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t answered_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<absl::Duration> waits_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace rsidiff::coordinator
