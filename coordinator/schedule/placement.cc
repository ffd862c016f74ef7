#include "coordinator/schedule/placement.h"

#include <tuple>

#include "absl/strings/str_cat.h"
#include "coordinator/schedule/task_graph.h"

namespace rsidiff::coordinator {
namespace {

bool HoldsUpTheRound(v1::TaskKind kind) {
  return kind != v1::TASK_KIND_GENERATE && kind != v1::TASK_KIND_SCORE;
}

/// Smaller goes first.
auto Order(const Candidate& task) {
  int urgency = task.kind == v1::TASK_KIND_TRAIN ? 0
                : HoldsUpTheRound(task.kind)     ? 1
                : task.pictures_here             ? 2
                                                 : 3;
  int kind = task.kind == v1::TASK_KIND_SCORE ? 0 : 1;
  uint32_t leased = urgency == 3 ? task.leased_in_branch : 0;
  return std::make_tuple(urgency, leased, task.round, kind, task.index);
}

std::string Reason(const Candidate& task) {
  if (HoldsUpTheRound(task.kind)) return "the round waits for it";
  if (task.pictures_here) return "the worker holds its pictures";
  return absl::StrCat("its branch has the fewest leases (", task.leased_in_branch, ")");
}

}  // namespace

bool MayTake(const TaskView& task) {
  if (task.alone) return true;
  if (!task.preferred_worker.empty() && task.preferred_worker != task.worker &&
      task.now < task.preferred_until) {
    return false;
  }
  return task.last_worker != task.worker || task.now >= task.failed_at + kAvoidLastWorker;
}

std::optional<Placement> Place(const std::vector<RunDemand>& runs) {
  const RunDemand* best = nullptr;
  auto claim = [](const RunDemand& run) {
    return std::make_tuple(run.leased / run.weight, static_cast<double>(run.granted) / run.weight,
                           run.run_id);
  };
  for (const RunDemand& run : runs) {
    if (!run.candidates.empty() && (best == nullptr || claim(run) < claim(*best))) best = &run;
  }
  if (best == nullptr) return std::nullopt;
  const Candidate* task = &best->candidates.front();
  for (const Candidate& candidate : best->candidates) {
    if (Order(candidate) < Order(*task)) task = &candidate;
  }
  return Placement{best->run_id, *task,
                   absl::StrCat("run ", best->run_id, " has the smallest share; ",
                                TaskName(task->kind, task->purpose), " ", task->index, ": ", Reason(*task))};
}

}  // namespace rsidiff::coordinator
