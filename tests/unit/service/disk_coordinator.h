#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/service/core_loop.h"
#include "coordinator/state/task_id.h"
#include "tests/unit/service/faulty_file_system.h"

namespace rsidiff::coordinator {

/// How the coordinator writes: as it does, or with a mistake that the tests have to notice.
enum class Writing { kAsIs, kNeverSynced, kErrorsIgnored };

inline constexpr int kAllTasks = 1'000;

/// The coordinator's database, core and loop in a folder, and one worker. Lives one after the other; what
/// was acknowledged is remembered over all of them.
class DiskCoordinator {
 public:
  explicit DiskCoordinator(Writing writing = Writing::kAsIs);
  ~DiskCoordinator();  // removes the folder

  /// Starts a coordinator on `disk`, works off up to `max_tasks` tasks of a small run and stops it. The
  /// error that stopped it, if one did, or what it acknowledged against a rule.
  absl::Status Live(const std::shared_ptr<FaultyFileSystem>& disk, int max_tasks);

  /// Two lives, the second of which moves the first one's log into tables and ends the run.
  absl::Status LiveTwice(const std::shared_ptr<FaultyFileSystem>& disk);

  /// What is wrong with what a restart finds: a rule that it breaks, or what was acknowledged and is not
  /// there. Empty: nothing.
  std::string Damage(const std::shared_ptr<FaultyFileSystem>& disk) const;

  /// The run's end was acknowledged.
  bool finished() const { return finished_; }

 private:
  template <class T>
  absl::StatusOr<T> Call(CoreLoop& loop, Request request);
  absl::Time Now();
  std::string RequestId();
  absl::Status Work(CoreLoop& loop, int max_tasks);
  absl::StatusOr<uint64_t> Register(CoreLoop& loop);
  absl::StatusOr<int> CompleteOne(CoreLoop& loop, uint64_t incarnation);

  const Writing writing_;
  const std::filesystem::path folder_;
  std::atomic<int> looks_{0};
  int requests_ = 0;

  // What was acknowledged.
  bool submitted_ = false;
  bool finished_ = false;
  uint64_t incarnation_ = 0;
  uint64_t token_ = 0;
  std::vector<TaskId> completed_;
};

/// How many changes a run of two lives makes to its files where nothing fails.
uint64_t ChangesOfARun();

}  // namespace rsidiff::coordinator
