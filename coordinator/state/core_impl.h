#pragma once

#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "coordinator/schedule/placement.h"
#include "coordinator/schedule/retry.h"
#include "coordinator/schedule/training_membership.h"
#include "coordinator/state/core.h"
#include "coordinator/state/lease_polls.h"
#include "coordinator/state/model.h"
#include "coordinator/state/request_memory.h"
#include "coordinator/state/tables.h"

namespace rsidiff::coordinator {

/// The core's state. Every change to a stored record is followed by its Put in the same step. One file a
/// topic: core.cc (steps, rows, requests), workers.cc, lease_calls.cc, leases.cc, completions.cc, rounds.cc,
/// prompt_filter.cc, reduce.cc, training.cc, runs.cc, queries.cc, recovery.cc.
class Core::Impl {
 public:
  explicit Impl(CoreOptions options) : options_(std::move(options)) {}

  absl::StatusOr<StepResult> Recover(std::vector<Row> rows, absl::Time now);
  StepResult Step(absl::Time now, Event event);
  absl::Time NextTimer() const;
  bool NextTickNamesArtifacts() const;
  std::vector<Row> Dump() const;
  const CoreStatistics& statistics() const { return statistics_; }

 private:
  // --- core.cc: a step's frame, what it writes, and what it answers
  void Dispatch(Event event);
  void ForgiveStall(absl::Time now);
  void PassTime();
  /// Answers the waiting calls that can be answered now.
  void ServeWaiting();
  StepResult TakeResult();
  void Put(Table table, std::string key, const google::protobuf::MessageLite& message);
  void Delete(Table table, std::string key);
  void PutRun(const Run& run);
  void PutRound(const Round& round);
  void PutTask(const Task& task);
  void PutWorker(const Worker& worker);
  void PutSample(const Round& round, v1::Purpose purpose, const v1::SampleRecord& sample);
  /// The rows that hold the judgements of samples `first` to `last`, which are there.
  void PutJudgements(const Round& round, uint32_t first, uint32_t last);
  void Answer(uint64_t event, absl::StatusOr<Response> response);
  void Log(uint64_t run_id, uint32_t round, absl::string_view worker, std::string text);
  /// Log, and one of RunRecord.warnings.
  void Warn(Run& run, uint32_t round, std::string text);
  int64_t NowMicros() const { return absl::ToUnixMicros(now_); }
  /// The stored answer to `request_id`, if any. INVALID_ARGUMENT for an id out of form or of another call.
  absl::StatusOr<std::optional<v1::RequestRecord>> FindRequest(const std::string& request_id,
                                                               absl::string_view method) const;
  void RememberRequest(const std::string& request_id, v1::RequestRecord record);
  void RememberCompletion(const std::string& request_id);
  void ForgetOldRequests();

  // --- workers.cc
  absl::StatusOr<Response> Handle(const v1::RegisterRequest& request);
  absl::StatusOr<Response> Handle(const v1::HeartbeatRequest& request);
  absl::StatusOr<Response> Handle(const v1::DrainWorkerRequest& request);
  /// A worker that may call; marks it as seen. NOT_FOUND: it has to register; ABORTED: it was replaced.
  absl::StatusOr<Worker*> CallingWorker(const std::string& name, uint64_t incarnation);
  /// Renews the held leases that are valid; the tokens of the others.
  std::vector<uint64_t> Renew(Worker& worker, const google::protobuf::RepeatedPtrField<v1::HeldLease>& held);
  void ReplaceProcess(Worker& worker);
  void SetWorkerState(Worker& worker, v1::WorkerState state);
  /// Tasks that are kept for the worker, because it has their pictures, are for everybody now.
  void ReleasePictures(const std::string& worker);
  void LoseWorker(Worker& worker);
  void FinishDrain(Worker& worker);
  void Retire(Worker& worker, v1::WorkerState state);
  void ForgetGoneWorkers();
  void ExpireWorkers();
  /// When ExpireWorkers has something to do for it, if it is not heard of before.
  absl::Time DueTime(const Worker& worker) const;
  uint32_t CountWorkers(v1::WorkerState state) const;

  // --- lease_calls.cc: the calls for work, while they wait and when their answer is lost
  void HandleLease(uint64_t event, v1::LeaseRequest request);
  void ServeLeasePolls();
  void ServeLeasePoll(uint64_t number);
  void FinishLeasePoll(uint64_t number, v1::LeaseResponse response);
  void AnswerLease(uint64_t event, const std::string& request_id, v1::LeaseResponse response);
  void HandleCancelled(uint64_t event);
  /// The grants of a call whose answer cannot arrive go back, unless another call got them too.
  void TakeBackGrants(uint64_t event);

  // --- leases.cc: who gets which task, and how a lease ends
  /// Work for the worker, at most `max_tasks`; empty when there is none.
  v1::LeaseResponse GrantTasks(Worker& worker, const std::string& request_id, uint32_t max_tasks);
  std::vector<RunDemand> Demands(const Worker& worker, bool training_allowed);
  /// True unless every task that is ready is kept for one worker.
  bool HasOpenWork() const;
  void AddCandidates(const Worker& worker, const Run& run, const Round& round, RunDemand& demand) const;
  std::optional<uint32_t> FirstTakeable(const Worker& worker, const TaskId& any,
                                        const std::set<uint32_t>& indices) const;
  bool MayTrain(const Worker& worker, const Run& run, const Round& round, const Task& task) const;
  uint64_t Grant(Worker& worker, Task& task, const std::string& request_id);
  /// The worker has named the lease, so the grant has arrived.
  void Claim(Lease& lease);
  Lease* ValidLease(uint64_t token, const TaskId& task, const Worker& worker);
  void Reassert(Lease& lease);
  /// Ends a lease without a result: back to PENDING, or FAILED when a budget is spent.
  void EndLease(uint64_t token, LeaseEnd end, const std::string& error);
  /// Takes the lease off task, worker and run, and nothing more.
  Lease RemoveLease(uint64_t token);
  void DropLeases(const TaskId& task);
  void ExpireLeases();
  /// Sets the state and keeps the group's counts and ready set.
  void SetTaskState(Task& task, v1::TaskState state);
  void RefreshReady(Run& run, Round& round, Task& task);
  void WakeTasks();
  bool IsActive(const std::string& worker) const;
  Task* FindTask(const TaskId& task);

  // --- completions.cc
  absl::StatusOr<Response> Handle(const v1::CompleteRequest& request);
  absl::Status CompleteLease(const v1::CompleteRequest& request, Worker& worker, Lease& lease);
  absl::Status FinishTask(Task& task, const v1::CompleteRequest& request, const std::string& worker);
  void ApplyGenerate(Run& run, Round& round, const TaskId& task, const v1::GenerateResult& result,
                     const std::string& worker);
  void ApplyScore(Run& run, Round& round, const TaskId& task, const v1::ScoreResult& result);
  void ApplyWeight(Run& run, Round& round, const TaskId& task, const v1::WeightResult& result);
  void ApplyTrain(Run& run, Round& round, const Task& task, const v1::TrainResult& result);
  void ApplyMeasure(Round& round, const v1::MeasureResult& result);

  // --- rounds.cc
  void PlanRound(Run& run, uint32_t round);
  void RestorePlan(Run& run, Round& round);
  void AddSampleTasks(Run& run, Round& round, v1::Purpose purpose);
  void AddTask(Run& run, Round& round, const TaskId& task);
  void IndexTask(Run& run, Round& round, Task task);
  /// Moves every round as far as its finished tasks allow, and ends the run after the last one.
  void Advance(Run& run);
  bool AdvanceRound(Run& run, Round& round);
  bool AllDone(const Round& round, v1::TaskKind kind, v1::Purpose purpose) const;
  void EnterPhase(Run& run, Round& round, v1::RoundPhase phase);
  void SummarizeEvaluation(Run& run, Round& round);
  void WarnOfConstantJudges(Run& run, const v1::EvaluationSummary& base);
  bool AdvanceEvaluation(Run& run, Round& round);
  void FinishRound(Run& run, Round& round);
  void ForgetSamples(Run& run, Round& round, v1::Purpose purpose);
  /// The tasks of a round that has ended. Completions that may still be repeated are remembered.
  void ForgetTasks(Round& round);
  void JudgeRun(Run& run);

  // --- prompt_filter.cc: the look at the training prompts' embeddings
  /// Once every prompt is embedded.
  void AddFilterTask(Run& run, Round& round);
  void ApplyEmbed(Run& run, Round& round, const TaskId& task, const v1::EmbedResult& result);
  /// True when it has come to its end.
  bool FilterSlice(Run& run, Round& round);
  void FinishFilter(Run& run, Round& round);

  // --- reference.cc: the base model's samples, that distances are measured to
  /// A distribution takes two samples. A run whose round 1 has fewer weighs uniformly, and says so. One that
  /// has not more samples than weights.neighbours fails before they are drawn.
  void RequireReference(Run& run, const Round& round);
  void AddReferenceTasks(Run& run, Round& round);
  /// True when the reference is fitted.
  bool AdvanceReference(Run& run, Round& round);
  void ApplyMoments(Run& run, Round& round, const TaskId& task, const v1::MomentsResult& result);
  void ApplyReference(Run& run, Round& round, const v1::FitReferenceResult& result);

  // --- reduce.cc: the filter's result, selection and weights, a slice at each tick
  /// True when the round stands before one of them, and nothing else is to be waited for.
  bool Reducible(const Run& run, const Round& round) const;
  void ContinueReduction();
  /// These are true when it has come to its end.
  bool ReduceSlice(Run& run, Round& round);
  bool SelectSlice(Run& run, Round& round);
  void Select(const v1::RunSpec& spec, Round& round, SampleView slice);
  /// Warns of each scorer that gave the same to all of round 1's samples; when all did, and samples are to be
  /// selected by them, the run fails and the result is false.
  bool TellsSamplesApart(Run& run, const StatisticsMap& statistics);
  bool FinishSelection(Run& run, Round& round);
  bool WeighSlice(Run& run, Round& round);
  void GatherWeights(const Run& run, Round& round);
  void StoreWeights(const Run& run, Round& round);
  void ReplaySlice(const Run& run, Round& round);
  /// Hands over the parts of the manifest that are complete.
  void StoreManifest(Weighing& work);
  void FinishWeights(Round& round);
  void StopReduction(Round& round);
  void DiscardSlice();
  void ThinSlice();

  // --- training.cc
  void HandleJoin(uint64_t event, const v1::JoinTrainingRequest& request);
  absl::StatusOr<Response> Handle(const v1::CommitCheckpointRequest& request);
  void ConsiderTraining(Run& run, Round& round);
  void ServeTraining();
  void FormGeneration(Run& run, Round& round, const MembershipDecision& decision);
  void EndGoneMembers(const Training& training, const v1::JoinTrainingRequest& request);
  void LogRefusal(const Run& run, const v1::GenerationRecord& before, const v1::GenerationRecord& now);
  MembershipInput Membership(const Run& run, const Round& round) const;
  bool MustRegroup(uint64_t token) const;
  void LeaveTraining(const TaskId& task, uint64_t token, const absl::Status& status);

  // --- runs.cc
  absl::StatusOr<Response> Handle(const v1::SubmitRunRequest& request);
  absl::StatusOr<Response> Handle(const v1::SetRunStateRequest& request);
  absl::StatusOr<Response> Handle(const ForkRun& call);
  Run* FindSubmission(const std::string& request_id);
  Run& AddRun(v1::RunRecord record);
  void StorePrompts(const Run& run);
  /// True if what a fork of the rounds up to `last` copies is in memory.
  bool HasForkedRows(const Run& parent, uint32_t last) const;
  Run& AddFork(const v1::ForkRunRequest& request, v1::RunSpec spec);
  void PutPrompt(const Run& run, PromptList list, uint32_t index);
  void EndRun(Run& run, v1::RunState state, const std::string& reason);
  void StartCompeting(Run& run);

  // --- queries.cc
  absl::StatusOr<Response> Handle(const v1::GetInfoRequest& request);
  absl::StatusOr<Response> Handle(const v1::ListRunsRequest& request);
  absl::StatusOr<Response> Handle(const v1::GetRunRequest& request);
  absl::StatusOr<Response> Handle(const v1::ListWorkersRequest& request);
  v1::RunStatus Status(const Run& run) const;
  /// RunStatus.waits_for.
  std::string WaitsFor(const Run& run) const;
  /// True if an active worker takes tasks of the kind, whatever it does now.
  bool SomebodyTakes(const Run& run, v1::TaskKind kind) const;
  v1::WorkerRecord Describe(const Worker& worker) const;

  // --- recovery.cc
  absl::Status LoadRow(const Row& row);
  absl::Status LoadPrompt(const Row& row);
  absl::Status LoadTask(const Row& row);
  absl::Status LoadJudgements(const Row& row);
  absl::Status LoadSample(const Row& row);
  absl::StatusOr<Round*> LoadedRound(const Row& row, uint64_t run_id, uint32_t round);
  /// Loads the prompts and samples of a run that has ended. An error leaves it without.
  absl::Status RecallInputs(Run& run, const std::vector<Row>& rows);
  void ForgetInputs(Run& run);
  void RestoreLeases(Task& task);
  void RestoreRun(Run& run);

  CoreOptions options_;
  absl::Time now_ = absl::InfinitePast();
  v1::MetaRecord meta_;
  std::map<uint64_t, Run> runs_;
  std::set<uint64_t> open_runs_;  // that have not ended
  std::map<std::string, Worker> workers_;
  std::map<v1::WorkerState, uint32_t> worker_counts_;
  std::map<uint64_t, Lease> leases_;  // by token
  // Nothing has to be done for a worker or a lease before these times. Calls move the true times on, so
  // these may be too early, and are made exact by looking at all of them only when they have come.
  absl::Time workers_due_ = absl::InfiniteFuture();
  absl::Time leases_due_ = absl::InfiniteFuture();
  RequestMemory requests_;
  absl::Time heard_since_ = absl::InfinitePast();  // the start, or the end of the last stall
  uint64_t token_counter_ = 0;
  LeasePolls lease_polls_;
  std::map<uint64_t, std::string> granted_calls_;  // newest calls answered with grants -> request id
  std::multimap<absl::Time, TaskId> wakeups_;      // ends of back-offs and preferences
  // Since lease polls were last served, there may be work that was not there before:
  bool work_for_everybody_ = false;
  std::set<std::string> work_for_;                    // for these workers
  std::set<std::pair<uint64_t, uint32_t>> joining_;   // rounds that a worker waits to train
  std::set<std::pair<uint64_t, uint32_t>> reducing_;  // rounds whose filter, selection or weights go on
  std::list<SampleMap> discarded_;                    // samples nobody needs: to free a million takes a while
  // Rounds of whose training samples only the selected ones are needed any more -> where to go on from. Until
  // then the others are there too, and are to be ignored.
  std::map<std::pair<uint64_t, uint32_t>, uint32_t> thinning_;
  CoreStatistics statistics_;

  // The step under way.
  std::map<std::pair<Table, std::string>, std::optional<std::string>> rows_;
  std::vector<std::string> artifacts_;
  std::vector<Reply> replies_;
  bool name_artifacts_ = false;
  bool sync_ = false;
};

}  // namespace rsidiff::coordinator
