#include "tests/simulation/client.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/simulation/worker.h"

namespace rsidiff::simulation {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(4);

}  // namespace

ExpectedResults MakeExpectedResults() {
  ExpectedResults results;
  for (Workload workload : {Workload::kReference, Workload::kUniform, Workload::kNarrow}) {
    for (uint32_t shared = 0; shared < 3; ++shared) {
      results[{workload, shared}] = ExpectedResult(workload, shared);
    }
  }
  return results;
}

std::string Client::RequestId() {
  return absl::StrCat("client-", world_.random.Next());
}

void Client::Call(coordinator::Request request) {
  network_.Call(process_, std::move(request), kTimeout, [](absl::StatusOr<coordinator::Response>) {});
}

void Client::Add(coordinator::Request request, std::shared_ptr<Submission> submission) {
  submissions_.push_back(submission);
  network_.Call(process_, std::move(request), kTimeout,
                [submission](const absl::StatusOr<coordinator::Response>& answer) {
                  submission->refused = !answer.ok();
                  if (answer.ok()) submission->run_id = std::get<v1::SubmitRunResponse>(*answer).run_id();
                });
}

void Client::Submit(Workload workload) {
  auto submission = std::make_shared<Submission>();
  submission->workload = workload;
  Add(MakeRun(workload, RequestId()), submission);
}

std::shared_ptr<Client::Submission> Client::Pick() {
  return submissions_[world_.random.Below(submissions_.size())];
}

void Client::SetState(uint64_t run_id, v1::RunState state) {
  v1::SetRunStateRequest request;
  request.set_request_id(RequestId());
  request.set_run_id(run_id);
  request.set_state(state);
  Call(request);
}

void Client::PauseOrResume() {
  uint64_t run_id = Pick()->run_id;
  bool paused = FindRun(host_.disk(), run_id).state() == v1::RUN_STATE_PAUSED;
  if (run_id != 0) SetState(run_id, paused ? v1::RUN_STATE_ACTIVE : v1::RUN_STATE_PAUSED);
}

void Client::ResumeAll() {
  for (const auto& submission : submissions_) {
    if (FindRun(host_.disk(), submission->run_id).state() == v1::RUN_STATE_PAUSED)
      SetState(submission->run_id, v1::RUN_STATE_ACTIVE);
  }
}

void Client::Cancel() {
  auto submission = Pick();
  if (submission->run_id == 0) return;
  submission->cancelled = true;
  SetState(submission->run_id, v1::RUN_STATE_CANCELLED);
}

void Client::Fork() {
  auto parent = Pick();
  uint32_t done = 0;
  v1::RunRecord run = FindRun(host_.disk(), parent->run_id);
  for (; done < run.spec().rounds(); ++done) {
    auto row = host_.disk().find({coordinator::Table::kRounds, coordinator::RoundKey(parent->run_id, done)});
    v1::RoundRecord round;
    if (row == host_.disk().end() || !round.ParseFromString(row->second) ||
        round.phase() != v1::ROUND_PHASE_DONE)
      break;
  }
  if (parent->run_id == 0 || done == 0) return;
  v1::ForkRunRequest request;
  request.set_request_id(RequestId());
  request.set_run_id(parent->run_id);
  request.set_from_round(static_cast<uint32_t>(world_.random.Below(done)));
  auto submission = std::make_shared<Submission>();
  submission->workload = parent->workload;
  submission->shared_rounds = request.from_round() + 1;
  Add(coordinator::ForkRun{request, {}}, submission);
}

void Client::Drain(const std::string& worker) {
  v1::DrainWorkerRequest request;
  request.set_request_id(RequestId());
  request.set_name(worker);
  request.set_deadline_seconds(world_.random.Chance(0.5) ? 20 : 0);
  request.set_reason("simulated");
  Call(request);
}

bool Client::AllEnded() const {
  for (const auto& submission : submissions_) {
    if (submission->refused) continue;
    if (FindRun(host_.disk(), submission->run_id).state() <= v1::RUN_STATE_PAUSED) return false;
  }
  return true;
}

std::string Client::Judge(const ExpectedResults& expected) const {
  for (const auto& submission : submissions_) {
    std::string fault = JudgeRun(*submission, expected);
    if (!fault.empty()) return fault;
  }
  return "";
}

std::string Client::JudgeRun(const Submission& submission, const ExpectedResults& expected) const {
  if (submission.refused) return "liveness: a submission was refused";
  v1::RunRecord run = FindRun(host_.disk(), submission.run_id);
  const std::string name = absl::StrCat("run ", submission.run_id);
  switch (run.state()) {
    case v1::RUN_STATE_SUCCEEDED:
      if (submission.workload == Workload::kPoison) return name + " succeeded without one of its tasks";
      if (RunResult(host_.disk(), run.id(), submission.shared_rounds) !=
          expected.at({submission.workload, submission.shared_rounds})) {
        return absl::StrCat("the result of ", name, " differs from the fault-free one:\n",
                            RunResult(host_.disk(), run.id(), submission.shared_rounds));
      }
      return "";
    case v1::RUN_STATE_FAILED:
      // That a task failed exactly when a budget was spent is among the invariants.
      if (absl::StrContains(run.reason(), " times, last: ")) return "";
      return absl::StrCat(name, " failed without a reason: ", run.reason());
    case v1::RUN_STATE_CANCELLED:
      return submission.cancelled ? "" : name + " was cancelled, and nobody asked for it";
    default:
      return absl::StrCat("liveness: ", name, " is in state ", run.state(), " long after the faults ended");
  }
}

}  // namespace rsidiff::simulation
