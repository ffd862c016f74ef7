#include "coordinator/schedule/task_graph.h"
#include "coordinator/state/core_impl.h"

namespace rsidiff::coordinator {
namespace {

uint32_t MomentsTasks(const Run& run, const Round& round) {
  const v1::RunSpec& spec = run.record.spec();
  const uint32_t chunks = ChunkCount(round.plan.at(v1::PURPOSE_TRAINING).size(), spec.sampling().chunk());
  return ChunkCount(chunks, ChunksOf(spec, kMomentsBlock));
}

}  // namespace

void Core::Impl::AddReferenceTasks(Run& run, Round& round) {
  TaskId task{run.id(), round.record.round(), v1::TASK_KIND_FIT_REFERENCE, v1::PURPOSE_TRAINING, 0};
  if (!NeedsMoments(run.record.spec())) return AddTask(run, round, task);
  task.kind = v1::TASK_KIND_MOMENTS;
  for (const uint32_t tasks = MomentsTasks(run, round); task.index < tasks; ++task.index) {
    AddTask(run, round, task);
  }
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
  const auto tasks = static_cast<int>(MomentsTasks(run, round));
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
