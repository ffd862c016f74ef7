#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "coordinator/schedule/fork_spec.h"
#include "coordinator/state/core_impl.h"

namespace rsidiff::coordinator {
namespace {

absl::Status CheckSubmission(const v1::SubmitRunRequest& request) {
  const v1::RunInputs& inputs = request.inputs();
  if (request.spec().scorers().empty()) return absl::InvalidArgumentError("spec.scorers is empty");
  if (inputs.evaluation_prompts().empty())
    return absl::InvalidArgumentError("inputs.evaluation_prompts is empty");
  if (request.spec().rounds() > 0 && inputs.train_prompts().empty()) {
    return absl::InvalidArgumentError("inputs.train_prompts is empty");
  }
  return absl::OkStatus();
}

std::string StateName(v1::RunState state) {
  switch (state) {
    case v1::RUN_STATE_ACTIVE:
      return "active";
    case v1::RUN_STATE_PAUSED:
      return "paused";
    case v1::RUN_STATE_SUCCEEDED:
      return "succeeded";
    case v1::RUN_STATE_FAILED:
      return "failed";
    case v1::RUN_STATE_CANCELLED:
      return "cancelled";
    default:
      return "in no known state";
  }
}

absl::Status NoSuchRun(uint64_t id) {
  return absl::NotFoundError(absl::StrCat("no such run: ", id));
}

}  // namespace

Run* Core::Impl::FindSubmission(const std::string& request_id) {
  for (auto& [id, run] : runs_) {
    if (run.record.request_id() == request_id) return &run;
  }
  return nullptr;
}

Run& Core::Impl::AddRun(v1::RunRecord record) {
  record.set_id(meta_.next_run_id());
  record.set_state(v1::RUN_STATE_ACTIVE);
  record.set_submitted_us(NowMicros());
  meta_.set_next_run_id(record.id() + 1);
  Run& run = runs_[record.id()];
  open_runs_.insert(record.id());
  run.record = std::move(record);
  StartCompeting(run);
  return run;
}

void Core::Impl::StartCompeting(Run& run) {
  // As if it had competed from the start: a newcomer neither starves nor is starved.
  bool found = false;
  for (const auto& [id, other] : runs_) {
    if (&other == &run || other.record.state() != v1::RUN_STATE_ACTIVE) continue;
    run.granted = found ? std::min(run.granted, other.granted) : std::max(run.granted, other.granted);
    found = true;
  }
}

void Core::Impl::StorePrompts(const Run& run) {
  for (uint32_t i = 0; i < run.train_prompts.size(); ++i) PutPrompt(run, PromptList::kTrain, i);
  for (uint32_t i = 0; i < run.evaluation_prompts.size(); ++i) PutPrompt(run, PromptList::kEvaluation, i);
}

void Core::Impl::PutPrompt(const Run& run, PromptList list, uint32_t index) {
  Put(Table::kPrompts, PromptKey(run.id(), list, index), PromptRow(run, list, index));
}

absl::StatusOr<Response> Core::Impl::Handle(const v1::SubmitRunRequest& request) {
  RSIDIFF_RETURN_IF_ERROR(
      FindRequest(request.request_id(), v1::SubmitRunRequest::descriptor()->name()).status());
  v1::SubmitRunResponse response;
  if (const Run* known = FindSubmission(request.request_id())) {
    response.set_run_id(known->id());
    return response;
  }
  RSIDIFF_RETURN_IF_ERROR(CheckSubmission(request));
  v1::RunRecord record;
  *record.mutable_spec() = request.spec();
  *record.mutable_inputs() = request.inputs();
  record.mutable_inputs()->clear_train_prompts();
  record.mutable_inputs()->clear_evaluation_prompts();
  record.set_train_prompt_count(request.inputs().train_prompts_size());
  record.set_evaluation_prompt_count(request.inputs().evaluation_prompts_size());
  record.set_request_id(request.request_id());
  Run& run = AddRun(std::move(record));
  run.train_prompts.assign(request.inputs().train_prompts().begin(), request.inputs().train_prompts().end());
  run.rejected.assign(run.train_prompts.size(), false);
  run.evaluation_prompts.assign(request.inputs().evaluation_prompts().begin(),
                                request.inputs().evaluation_prompts().end());
  StorePrompts(run);
  Log(run.id(), 0, "", absl::StrCat("run ", run.id(), " (", run.record.spec().name(), ") submitted"));
  PlanRound(run, 0);
  if (run.record.spec().rounds() > 0) PlanRound(run, 1);
  PutRun(run);
  response.set_run_id(run.id());
  return response;
}

absl::StatusOr<Response> Core::Impl::Handle(const v1::SetRunStateRequest& request) {
  const std::string method = v1::SetRunStateRequest::descriptor()->name();
  RSIDIFF_ASSIGN_OR_RETURN(std::optional<v1::RequestRecord> known, FindRequest(request.request_id(), method));
  auto found = runs_.find(request.run_id());
  if (found == runs_.end()) return NoSuchRun(request.run_id());
  Run& run = found->second;
  if (known.has_value() || run.record.state() == request.state()) return Status(run);
  if (run.ended()) {
    return absl::FailedPreconditionError(
        absl::StrCat("run ", run.id(), " has ended: it is ", StateName(run.record.state())));
  }
  switch (request.state()) {
    case v1::RUN_STATE_CANCELLED:
      EndRun(run, v1::RUN_STATE_CANCELLED, "cancelled on request");
      break;
    case v1::RUN_STATE_PAUSED:
    case v1::RUN_STATE_ACTIVE:
      run.record.set_state(request.state());
      if (request.state() == v1::RUN_STATE_ACTIVE) StartCompeting(run);
      PutRun(run);
      Log(run.id(), 0, "", absl::StrCat("run ", run.id(), " is ", StateName(request.state())));
      work_for_everybody_ = true;
      break;
    default:
      return absl::InvalidArgumentError(absl::StrCat("state has to be ACTIVE, PAUSED or CANCELLED, not ",
                                                     v1::RunState_Name(request.state())));
  }
  v1::RequestRecord record;
  record.set_method(method);
  RememberRequest(request.request_id(), std::move(record));
  return Status(run);
}

absl::StatusOr<Response> Core::Impl::Handle(const ForkRun& call) {
  const v1::ForkRunRequest& request = call.request;
  RSIDIFF_RETURN_IF_ERROR(
      FindRequest(request.request_id(), v1::ForkRunRequest::descriptor()->name()).status());
  v1::SubmitRunResponse response;
  if (const Run* known = FindSubmission(request.request_id())) {
    response.set_run_id(known->id());
    return response;
  }
  auto found = runs_.find(request.run_id());
  if (found == runs_.end()) return NoSuchRun(request.run_id());
  Run& parent = found->second;
  for (uint32_t number = 0; number <= request.from_round(); ++number) {
    auto round = parent.rounds.find(number);
    if (round == parent.rounds.end() || round->second.record.phase() != v1::ROUND_PHASE_DONE) {
      return absl::FailedPreconditionError(
          absl::StrCat("round ", number, " of run ", parent.id(), " is not done"));
    }
  }
  RSIDIFF_ASSIGN_OR_RETURN(v1::RunSpec spec, ForkSpec(parent.record.spec(), request));
  if (parent.ended()) {
    const absl::Status recalled = RecallInputs(parent, call.parent);
    if (!recalled.ok() || !HasForkedRows(parent, request.from_round())) {
      ForgetInputs(parent);
      // Its last rows may not be written yet; where trying again does not help, what is missed tells why.
      return absl::UnavailableError(absl::StrCat("run ", parent.id(), " is just ending; try again",
                                                 recalled.ok() ? "" : ": ", recalled.message()));
    }
  }
  Run& run = AddFork(request, std::move(spec));
  if (parent.ended()) ForgetInputs(parent);
  // Which round is the best decides what the next one starts from.
  JudgeRun(run);
  if (!run.ended() && run.record.newest_round() == request.from_round()) {
    PlanRound(run, request.from_round() + 1);
  }
  response.set_run_id(run.id());
  return response;
}

bool Core::Impl::HasForkedRows(const Run& parent, uint32_t last) const {
  if (parent.record.spec().train().replay() <= 0) return true;
  for (uint32_t number = 1; number <= last; ++number) {
    const Round& round = parent.rounds.at(number);
    const auto samples = round.samples.find(v1::PURPOSE_TRAINING);
    const size_t there = samples == round.samples.end() ? 0 : samples->second.size();
    if (round.selected.size() != round.record.selection().selected() || there < round.selected.size()) {
      return false;
    }
  }
  return true;
}

Run& Core::Impl::AddFork(const v1::ForkRunRequest& request, v1::RunSpec spec) {
  const Run& parent = runs_.at(request.run_id());
  v1::RunRecord record = parent.record;
  *record.mutable_spec() = std::move(spec);
  record.set_request_id(request.request_id());
  record.set_forked_from(parent.id());
  record.set_forked_round(request.from_round());
  record.set_newest_round(request.from_round());
  record.clear_reason();
  record.clear_ended_us();
  if (request.from_round() == 0) {
    record.clear_statistics();
    record.clear_reference();
    record.clear_embedding_filter();
  }
  auto& warnings = *record.mutable_warnings();
  const auto of_later = [&](const auto& warning) { return warning.round() > request.from_round(); };
  warnings.erase(std::remove_if(warnings.begin(), warnings.end(), of_later), warnings.end());
  Run& run = AddRun(std::move(record));
  run.train_prompts = parent.train_prompts;
  run.rejected = parent.rejected;
  if (request.from_round() == 0) run.rejected.assign(run.train_prompts.size(), false);
  run.evaluation_prompts = parent.evaluation_prompts;
  StorePrompts(run);
  for (uint32_t number = 0; number <= request.from_round(); ++number) {
    Round& round = run.rounds[number];
    round.record = parent.rounds.at(number).record;
    round.record.set_run_id(run.id());
    PutRound(round);
    if (run.record.spec().train().replay() <= 0) continue;
    const Round& original = parent.rounds.at(number);
    round.selected = original.selected;
    round.judgements = original.judgements;
    if (!round.judgements.empty())
      PutJudgements(round, 0, static_cast<uint32_t>(round.judgements.size()) - 1);
    for (const auto& [purpose, samples] : original.samples) {
      for (const auto& [index, sample] : samples) {
        if (!original.IsSelected(index)) continue;  // about to be dropped: see thinning_
        round.samples[purpose].emplace_hint(round.samples[purpose].end(), index, sample);
        PutSample(round, purpose, sample);
      }
    }
  }
  Log(run.id(), 0, "",
      absl::StrCat("run ", run.id(), " forked from round ", request.from_round(), " of run ",
                   request.run_id()));
  PutRun(run);
  return run;
}

void Core::Impl::EndRun(Run& run, v1::RunState state, const std::string& reason) {
  run.record.set_state(state);
  run.record.set_reason(reason);
  run.record.set_ended_us(NowMicros());
  PutRun(run);
  Log(run.id(), 0, "", absl::StrCat("run ", run.id(), " ", StateName(state), ": ", reason));
  for (auto& [number, round] : run.rounds) {
    if (round.record.phase() == v1::ROUND_PHASE_DONE) continue;
    for (auto& [id, task] : round.tasks) {
      v1::TaskState task_state = task.record.state();
      if (task_state == v1::TASK_STATE_LEASED || task_state == v1::TASK_STATE_UNKNOWN) {
        DropLeases(id);
        SetTaskState(task, v1::TASK_STATE_PENDING);
        PutTask(task);
      }
    }
    StopReduction(round);
    round.record.set_phase(state == v1::RUN_STATE_FAILED ? v1::ROUND_PHASE_FAILED
                                                         : v1::ROUND_PHASE_ABANDONED);
    round.record.set_ended_us(NowMicros());
    PutRound(round);
  }
  for (auto& [number, round] : run.rounds) ForgetTasks(round);
  ForgetInputs(run);
  open_runs_.erase(run.id());
  work_for_everybody_ = true;
}

}  // namespace rsidiff::coordinator
