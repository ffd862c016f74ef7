#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rsidiff/v1/coordinator.pb.h"

namespace rsidiff::worker {

/// "generate", "score", "fit_reference", "weight", "train", "measure", "embed", "filter", "moments".
std::string TaskKindName(v1::TaskKind kind);

/// "generate task 3 of run 1, round 2 (evaluation)".
std::string TaskName(const v1::TaskKey& task);

/// Outside a task and not its fault, so that it costs the run nothing: an artifact store that is away
/// (UNAVAILABLE), a full disk (RESOURCE_EXHAUSTED).
bool IsObstacle(const absl::Status& status);

/// Where a training member stands when it asks for a place in the next generation.
struct TrainingPosition {
  std::string store_address;                     // host:port of the TCPStore this member offers
  uint64_t step = 0;                             // optimizer steps applied
  bool has_state = false;                        // false: parameters, optimizer and EMA have to be received
  uint64_t last_generation = 0;                  // 0: none yet
  std::vector<uint64_t> gone_tokens;             // members whose processes are gone
  std::vector<std::string> refused_checkpoints;  // digests of those that could not be used here
};

/// Why a training's membership changed.
enum class RegroupCause { kPlanned, kFailure };

/// What a running task tells its surroundings and learns from them. Every method may be called from
/// any thread of the task.
class TaskControl {
 public:
  virtual ~TaskControl() = default;

  /// True once the result is not wanted any more: the lease is lost or the worker is made to stop. The
  /// task returns CANCELLED at its next convenience.
  virtual bool cancelled() const = 0;

  /// Share of the task that is done, 0..1.
  virtual void ReportProgress(double fraction) = 0;

  /// A sentence for the worker's log: something went wrong that the task copes with.
  virtual void Warn(const std::string& sentence) = 0;

  /// Training: the last applied step, its generation and its loss.
  virtual void ReportStep(uint64_t generation, uint64_t step, double loss) = 0;

  /// Training: this member is ready for the next step of a new membership, `seconds` after its last one.
  virtual void ReportRegroup(RegroupCause cause, double seconds) = 0;

  /// Training: the membership is about to change. All members leave after the same committed step and
  /// join again; the members agree on it with the flag that they reduce beside the loss.
  virtual bool regroup_requested() const = 0;

  /// Training: blocks until a generation that contains this worker is stored, over restarts of the
  /// coordinator too. ABORTED: the lease is lost, or the others go on without this draining worker.
  /// CANCELLED: the worker is made to stop.
  virtual absl::StatusOr<v1::JoinTrainingResponse> JoinTraining(const TrainingPosition& position) = 0;

  /// Training: makes a checkpoint durable. ABORTED: `generation` is not the current one. UNAVAILABLE,
  /// after a few seconds: the coordinator is away; training goes on without this checkpoint.
  virtual absl::Status CommitCheckpoint(uint64_t generation, uint64_t step, const std::string& digest) = 0;
};

/// Computes tasks, one at a time.
class TaskRunner {
 public:
  virtual ~TaskRunner() = default;

  /// The result, a function of the payload alone. CANCELLED: gave up on `control.cancelled()`.
  /// ABORTED: the lease is lost. An IsObstacle: the same task may succeed later. Any other error is the
  /// task's own and names it.
  virtual absl::StatusOr<v1::TaskResult> Run(const v1::Grant& grant, TaskControl& control) = 0;
};

}  // namespace rsidiff::worker
