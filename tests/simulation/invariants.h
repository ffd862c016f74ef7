#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/state/core.h"
#include "coordinator/state/tables.h"
#include "coordinator/state/task_id.h"

namespace rsidiff::simulation {

using Disk = std::map<std::pair<coordinator::Table, std::string>, std::string>;

/// Watches every step of the core against a small model of its own, made from nothing but the rows that
/// the core writes. The first violation stays.
///
///   I1 a task is held exactly while it is LEASED or UNKNOWN, by one token (training: one a member)
///   I2 DONE never changes
///   I3 tokens, generations, epochs and incarnations only grow
///   I4 a phase ends if and only if all its tasks are done
///   I7 no run trains on more workers than it may, no task uses more attempts than its budgets
///   I8 who holds a lease is a live worker's newest process; a generation's members hold leases
class Invariants {
 public:
  /// Budgets as the core has them.
  void SetBudgets(int lost, int errors) {
    max_lost_ = lost;
    max_errors_ = errors;
  }

  /// The model becomes what the disk holds: at a start.
  void Reload(const Disk& disk);
  /// One step's rows, before they are written.
  void CheckStep(const coordinator::StepResult& step);
  /// Completions applied since Reload.
  uint64_t completions() const { return completions_; }

  /// Whether the completion, were it to come now, may be answered with OK: its token is valid, or its task
  /// is DONE with the same result, or it is a repetition.
  bool MayComplete(const v1::CompleteRequest& request) const;
  /// An answer as the core gives it, right after the step that gave it.
  void CheckAnswer(const coordinator::Request& request, const absl::StatusOr<coordinator::Response>& response,
                   bool may_complete);

  void Fail(std::string violation);
  const std::string& violation() const { return violation_; }

 private:
  struct Holder {
    uint64_t token = 0;
    std::string worker;
    uint64_t incarnation = 0;
  };
  struct Task {
    v1::TaskState state = v1::TASK_STATE_UNSPECIFIED;
    std::vector<Holder> holders;
    std::string row;
  };
  struct Run {
    v1::RunState state = v1::RUN_STATE_UNSPECIFIED;
    uint32_t train_max = 0;
    std::string reason;
    bool ended() const { return state > v1::RUN_STATE_PAUSED; }
  };
  struct Worker {
    uint64_t incarnation = 0;
    bool alive = false;
  };
  struct Round {
    v1::RoundPhase phase = v1::ROUND_PHASE_UNSPECIFIED;
    std::map<v1::Purpose, int> unfinished;  // tasks that are not DONE
    bool measuring = false;
  };
  using RoundId = std::pair<uint64_t, uint32_t>;

  void ApplyRow(coordinator::Table table, const std::string& key, const std::string& value);
  void ApplyTask(const std::string& value);
  void CheckNewTask(const coordinator::TaskId& id, const v1::TaskRecord& record, const Task* before,
                    const std::string& value);
  void ForgetTask(const std::string& key);
  void ApplyGeneration(const v1::GenerationRecord& generation);
  void CheckPhases(const std::map<RoundId, v1::RoundPhase>& before);
  void CheckHolders();
  void NewToken(const coordinator::TaskId& task, uint64_t token);

  std::string violation_;
  int max_lost_ = 0;
  int max_errors_ = 0;
  std::map<coordinator::TaskId, Task> tasks_;
  std::map<uint64_t, std::pair<coordinator::TaskId, Holder>> held_;  // by token
  std::map<uint64_t, Run> runs_;
  std::map<RoundId, Round> rounds_;
  std::map<std::string, Worker> workers_;
  std::map<RoundId, v1::GenerationRecord> generations_;  // the newest of each
  std::set<std::string> completed_;                      // request ids of completions that were applied
  uint64_t greatest_generation_ = 0;
  uint64_t greatest_epoch_ = 0;
  uint64_t completions_ = 0;
  // Survive restarts: even what was never written must not come twice.
  uint64_t greatest_token_ = 0;
  uint64_t greatest_token_before_ = 0;  // the step
  std::map<uint64_t, coordinator::TaskId> tokens_;

  // The step under way.
  bool loading_ = false;
  std::vector<coordinator::TaskId> new_tasks_;
};

}  // namespace rsidiff::simulation
