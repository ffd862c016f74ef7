#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/artifact/store.h"
#include "coordinator/state/core.h"
#include "coordinator/state/row.h"

namespace rsidiff::coordinator {

enum class Durability { kProcessCrash, kPowerLoss };  // written, written and synced

/// Writes rows in one atomic batch, in order.
using WriteRows = std::function<absl::Status(const std::vector<RowWrite>&, Durability)>;

/// What one merged write was.
struct CommitReport {
  size_t steps = 0;
  size_t rows = 0;
  Durability durability = Durability::kProcessCrash;
  absl::Duration time;
};

struct CommitOptions {
  ArtifactStore* artifacts = nullptr;  // not owned
  WriteRows write;
  /// Gets the replies of every step, in step order, after the step is durable. Commit thread.
  std::function<void(std::vector<Reply>)> release;
  /// Called at most once, with the error of the write that failed. Commit thread.
  std::function<void(const absl::Status&)> fail;
  /// Called after every write. Commit thread.
  std::function<void(const CommitReport&)> report;
  /// Steps that may wait, and their rows; Submit blocks beyond either. An answer waits for all rows before
  /// its own, so a step that works off many samples must not get far ahead of the disk.
  size_t max_pending = 1024;
  size_t max_pending_rows = 2048;
};

/// Makes steps durable in order, on a thread of its own: merges the rows of all steps that wait into one
/// write (synced if any of them asks for it), then releases their replies. Artifacts are stored by a second
/// thread, in order: syncing a file takes as long as a hundred writes of rows, and only rows that name
/// artifacts wait for it. After a failure nothing is written or released any more.
class CommitPipeline {
 public:
  explicit CommitPipeline(CommitOptions options);
  ~CommitPipeline();  // as Finish

  /// Hands over the next step. Blocks while too many wait. Dropped after a failure or Finish.
  void Submit(StepResult step) ABSL_LOCKS_EXCLUDED(mutex_);

  /// Artifacts that were handed over and are not stored yet.
  size_t artifacts_waiting() const ABSL_LOCKS_EXCLUDED(mutex_);

  /// Commits what waits, then stops the threads. Further calls do nothing.
  void Finish() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  void StoreArtifacts() ABSL_LOCKS_EXCLUDED(mutex_);
  /// The error of an artifact that could not be stored, which may be one that no row waits for yet.
  absl::Status AwaitArtifacts(uint64_t count) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Write(std::vector<StepResult>& steps);
  void Stop(const absl::Status& failure) ABSL_LOCKS_EXCLUDED(mutex_);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return finishing_ || !pending_.empty() || !store_error_.ok();
  }
  bool HasArtifact() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return finishing_ || stopped_ || !artifacts_.empty();
  }
  bool HasRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopped_ || finishing_ ||
           (pending_.size() < options_.max_pending && pending_rows_ < options_.max_pending_rows);
  }

  const CommitOptions options_;
  mutable absl::Mutex mutex_;
  std::deque<StepResult> pending_ ABSL_GUARDED_BY(mutex_);
  size_t pending_rows_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t named_ ABSL_GUARDED_BY(mutex_) =
      0;  // how many artifacts have to be stored before pending_ is written
  std::deque<std::string> artifacts_ ABSL_GUARDED_BY(mutex_);
  uint64_t handed_over_ ABSL_GUARDED_BY(mutex_) = 0;  // artifacts, since the start
  uint64_t stored_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status store_error_ ABSL_GUARDED_BY(mutex_);
  bool finishing_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;  // nothing is taken any more
  std::thread thread_;
  std::thread artifact_thread_;
};

}  // namespace rsidiff::coordinator
