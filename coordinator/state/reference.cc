#include <string>

#include "absl/strings/str_cat.h"
#include "common/run/distance.h"
#include "coordinator/schedule/task_graph.h"
#include "coordinator/state/core_impl.h"

namespace rsidiff::coordinator {

void Core::Impl::RequireReference(Run& run, const Round& round) {
  const size_t samples = round.plan.at(v1::PURPOSE_TRAINING).size();
  if (round.record.round() != 1 || !NeedsReference(run.record.spec())) return;
  if (samples >= 2) {
    const absl::Status enough = CheckNeighbours(run.record.spec().weights(), samples);
    if (!enough.ok()) EndRun(run, v1::RUN_STATE_FAILED, std::string(enough.message()));
    return;
  }
  run.record.mutable_spec()->mutable_weights()->set_method(v1::WEIGHT_METHOD_UNIFORM);
  Warn(
      run, round.record.round(),
      absl::StrCat("all weights are 1: distances need at least two samples in round 1, which has ", samples));
}

void Core::Impl::AddReferenceTasks(Run& run, Round& round) {
  TaskId task{run.id(), round.record.round(), v1::TASK_KIND_FIT_REFERENCE, v1::PURPOSE_TRAINING, 0};
  if (!NeedsMoments(run.record.spec())) return AddTask(run, round, task);
  task.kind = v1::TASK_KIND_MOMENTS;
  const size_t samples = round.plan.at(v1::PURPOSE_TRAINING).size();
  for (; task.index < MomentsTasks(run.record.spec(), samples); ++task.index) AddTask(run, round, task);
}

bool Core::Impl::AdvanceReference(Run& run, Round& round) {
  if (round.groups.count({v1::TASK_KIND_FIT_REFERENCE, v1::PURPOSE_TRAINING}) > 0) {
    return AllDone(round, v1::TASK_KIND_FIT_REFERENCE, v1::PURPOSE_TRAINING);
  }
  if (AllDone(round, v1::TASK_KIND_MOMENTS, v1::PURPOSE_TRAINING)) {
    AddTask(run, round,
            {run.id(), round.record.round(), v1::TASK_KIND_FIT_REFERENCE, v1::PURPOSE_TRAINING, 0});
  }
  return false;
}

void Core::Impl::ApplyMoments(Run& run, Round& round, const TaskId& task, const v1::MomentsResult& result) {
  auto& files = *round.record.mutable_reference_moments();
  const size_t samples = round.plan.at(v1::PURPOSE_TRAINING).size();
  const auto tasks = static_cast<int>(MomentsTasks(run.record.spec(), samples));
  while (files.size() < tasks) files.Add();
  files[static_cast<int>(task.index)] = result.moments();
  PutRound(round);
}

void Core::Impl::ApplyReference(Run& run, Round& round, const v1::FitReferenceResult& result) {
  run.record.set_reference(result.reference());
  round.record.clear_reference_moments();
  PutRun(run);
  PutRound(round);
}

}  // namespace rsidiff::coordinator
