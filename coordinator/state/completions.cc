#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "common/base/status_macros.h"
#include "coordinator/schedule/offer.h"
#include "coordinator/schedule/placement.h"
#include "coordinator/state/core_impl.h"
#include "coordinator/state/payload.h"
#include "coordinator/state/result_check.h"

namespace rsidiff::coordinator {

absl::StatusOr<Response> Core::Impl::Handle(const v1::CompleteRequest& request) {
  RSIDIFF_ASSIGN_OR_RETURN(Worker * worker, CallingWorker(request.worker(), request.incarnation()));
  RSIDIFF_ASSIGN_OR_RETURN(std::optional<v1::RequestRecord> known,
                           FindRequest(request.request_id(), v1::CompleteRequest::descriptor()->name()));
  if (known.has_value()) return v1::CompleteResponse();
  if (request.outcome_case() == v1::CompleteRequest::OUTCOME_NOT_SET) {
    return absl::InvalidArgumentError("outcome is missing");
  }
  TaskId id = TaskId::From(request.task());
  const Task* task = FindTask(id);
  if (task != nullptr && task->record.state() == v1::TASK_STATE_DONE && request.has_result() &&
      task->record.result_digest() == Sha256Hex(DeterministicBytes(request.result()))) {
    return v1::CompleteResponse();
  }
  Lease* lease = ValidLease(request.token(), id, *worker);
  if (lease == nullptr) {
    ++statistics_.completions_fenced;
    return absl::AbortedError(
        absl::StrCat("FENCED: token is not valid any more for ", id.ToString(), ": ", request.token()));
  }
  RSIDIFF_RETURN_IF_ERROR(CompleteLease(request, *worker, *lease));
  // A result is told by its task when it comes again, so the many good ones need no row of their own.
  if (!request.has_result()) RememberCompletion(request.request_id());
  sync_ = true;
  return v1::CompleteResponse();
}

absl::Status Core::Impl::CompleteLease(const v1::CompleteRequest& request, Worker& worker, Lease& lease) {
  uint64_t token = lease.token;
  Task& task = *FindTask(lease.task);
  Claim(lease);
  if (request.outcome_case() == v1::CompleteRequest::kReturned) {
    ++statistics_.tasks_returned;
    EndLease(token, LeaseEnd::kReturned, "the worker gave the task back");
    return absl::OkStatus();
  }
  if (request.outcome_case() == v1::CompleteRequest::kError) {
    ++statistics_.task_errors;
    EndLease(token, LeaseEnd::kError, request.error().empty() ? "no message" : request.error());
    return absl::OkStatus();
  }
  if (lease.task.kind == v1::TASK_KIND_TRAIN) {
    const Round& round = runs_.at(lease.task.run_id).rounds.at(lease.task.round);
    const auto& generations = round.training.generations;
    bool member = !generations.empty() &&
                  std::any_of(generations.back().members().begin(), generations.back().members().end(),
                              [token](const v1::GenerationRecord::Member& m) { return m.token() == token; });
    if (!member) {
      ++statistics_.completions_fenced;
      return absl::AbortedError(absl::StrCat("FENCED: worker is not in the current generation of ",
                                             lease.task.ToString(), ": ", worker.record.name()));
    }
  }
  const Run& run = runs_.at(lease.task.run_id);
  absl::Status check = CheckResult(run.record.spec(), MakeWork(run, lease.task), request.result());
  if (!check.ok()) {
    ++statistics_.task_errors;
    EndLease(token, LeaseEnd::kError, std::string(check.message()));
    return check;
  }
  return FinishTask(task, request, worker.record.name());
}

absl::Status Core::Impl::FinishTask(Task& task, const v1::CompleteRequest& request,
                                    const std::string& worker) {
  TaskId id = TaskId::From(task.record.key());
  Run& run = runs_.at(id.run_id);
  Round& round = run.rounds.at(id.round);
  const v1::TaskResult& result = request.result();
  // Before the leases go: a worker that drains with its last task still counts as the picture's maker.
  switch (result.result_case()) {
    case v1::TaskResult::kGenerate:
      ApplyGenerate(run, round, id, result.generate(), worker);
      break;
    case v1::TaskResult::kScore:
      ApplyScore(run, round, id, result.score());
      break;
    case v1::TaskResult::kFitReference:
      ApplyReference(run, round, result.fit_reference());
      break;
    case v1::TaskResult::kMoments:
      ApplyMoments(run, round, id, result.moments());
      break;
    case v1::TaskResult::kWeight:
      ApplyWeight(run, round, id, result.weight());
      break;
    case v1::TaskResult::kTrain:
      ApplyTrain(run, round, task, result.train());
      break;
    case v1::TaskResult::kEmbed:
      ApplyEmbed(run, round, id, result.embed());
      break;
    case v1::TaskResult::kFilter:
      *task.record.mutable_filter() = result.filter();  // applied a slice at a time: prompt_filter.cc
      break;
    case v1::TaskResult::kMeasure:
      ApplyMeasure(round, result.measure());
      break;
    default:
      break;
  }
  DropLeases(id);
  task.record.set_result_digest(Sha256Hex(DeterministicBytes(result)));
  task.record.set_done_us(NowMicros());
  task.record.set_request_id(request.request_id());
  SetTaskState(task, v1::TASK_STATE_DONE);
  PutTask(task);
  ++statistics_.completions;
  ++statistics_.tasks_done[id.kind];
  statistics_.task_seconds[id.kind] += request.seconds();
  if (id.kind == v1::TASK_KIND_GENERATE) {
    const v1::Capabilities& offer = workers_.at(worker).record.capabilities();
    Task& score = round.tasks.at({id.run_id, id.round, v1::TASK_KIND_SCORE, id.purpose, id.index});
    if (Takes(offer, run.record.spec(), v1::TASK_KIND_SCORE)) {
      score.preferred_worker = worker;
      score.preferred_until = now_ + kScoreAffinity;
      wakeups_.emplace(score.preferred_until, TaskId::From(score.record.key()));
    }
    RefreshReady(run, round, score);
  }
  Advance(run);
  return absl::OkStatus();
}

void Core::Impl::ApplyGenerate(Run& run, Round& round, const TaskId& task, const v1::GenerateResult& result,
                               const std::string& worker) {
  std::vector<PlannedSample> plan = ChunkSamples(run, task);
  for (uint32_t row = 0; row < plan.size(); ++row) {
    v1::SampleRecord& sample = round.samples[task.purpose][plan[row].index];
    sample.set_index(plan[row].index);
    sample.set_prompt_id(plan[row].prompt_id);
    sample.set_sample_index(plan[row].sample_index);
    sample.set_seed(plan[row].seed);
    sample.set_image(result.images(row));
    sample.set_latents(result.latents());
    sample.set_row(row);
    sample.set_worker(worker);
    sample.set_environment(result.environment());
    PutSample(round, task.purpose, sample);
  }
  statistics_.samples_generated[task.purpose] += plan.size();
}

void Core::Impl::ApplyScore(Run& run, Round& round, const TaskId& task, const v1::ScoreResult& result) {
  std::vector<PlannedSample> plan = ChunkSamples(run, task);
  for (uint32_t row = 0; row < plan.size(); ++row) {
    v1::SampleRecord& sample = round.samples.at(task.purpose).at(plan[row].index);
    for (const auto& column : result.columns())
      (*sample.mutable_scores())[column.scorer()] = column.scores(row);
    sample.set_features(result.features());
    PutSample(round, task.purpose, sample);
  }
  statistics_.samples_scored[task.purpose] += plan.size();
}

void Core::Impl::ApplyWeight(Run& run, Round& round, const TaskId& task, const v1::WeightResult& result) {
  const std::vector<uint32_t> block = WeightBlock(run, task);
  for (size_t row = 0; row < block.size(); ++row) {
    round.judgements.at(block[row]).distance = result.distances(static_cast<int>(row));
  }
  PutJudgements(round, block.front(), block.back());
}

void Core::Impl::ApplyTrain(Run& run, Round& round, const Task& task, const v1::TrainResult& result) {
  round.record.set_checkpoint(result.checkpoint());
  v1::TrainSummary& summary = *round.record.mutable_train();
  summary.set_steps(result.steps());
  summary.set_first_loss(result.first_loss());
  summary.set_last_loss(result.last_loss());
  summary.set_seconds(static_cast<double>(NowMicros() - task.record.granted_us()) * 1e-6);
  summary.set_generations(round.training.generation_count());
  round.record.set_trained_us(NowMicros());
  PutRound(round);
  Log(run.id(), round.record.round(), "",
      absl::StrCat("round ", round.record.round(), " trained ", result.steps(), " steps, loss ",
                   result.first_loss(), " to ", result.last_loss()));
}

void Core::Impl::ApplyMeasure(Round& round, const v1::MeasureResult& result) {
  round.record.mutable_evaluation()->set_diversity(result.diversity());
  round.record.mutable_evaluation()->set_frechet(result.frechet());
  PutRound(round);
}

}  // namespace rsidiff::coordinator
