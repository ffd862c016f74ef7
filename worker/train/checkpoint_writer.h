#pragma once

#include <atomic>
#include <functional>
#include <thread>

#include "absl/status/status.h"
#include "worker/train/training_state.h"

namespace rsidiff::worker {

/// Makes training states durable beside the training: a copy in host memory is all that the training waits
/// for. One state at a time. Owned by the training thread.
class CheckpointWriter {
 public:
  /// `save` stores the state that it is given; `on_end` hears how that ended, an exception included. Both are
  /// called on the writer's thread.
  CheckpointWriter(std::function<absl::Status(const TrainingState&)> save,
                   std::function<void(uint64_t step, const absl::Status&)> on_end);
  /// Waits for the state being saved.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// Copies `state` and has it saved. RESOURCE_EXHAUSTED, and nothing done: the one before is still being
  /// saved, or there is no memory for the copy.
  absl::Status Start(const TrainingState& state);

  /// Waits for the state being saved, if any.
  void Finish();

 private:
  void Copy(const TrainingState& state);
  absl::Status Save() const;

  const std::function<absl::Status(const TrainingState&)> save_;
  const std::function<void(uint64_t, const absl::Status&)> on_end_;
  TrainingState copy_;  // its memory is kept for the next one; the thread's while saving_
  std::atomic<bool> saving_{false};
  std::thread thread_;
};

}  // namespace rsidiff::worker
