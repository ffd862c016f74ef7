#include "tests/simulation/acknowledgements.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "coordinator/schedule/task_graph.h"

namespace rsidiff::simulation {
namespace {

using coordinator::Request;
using coordinator::Response;
using coordinator::Table;
using coordinator::TaskId;

template <class Message>
bool Find(const Disk& disk, Table table, const std::string& key, Message& message) {
  auto row = disk.find({table, key});
  return row != disk.end() && message.ParseFromString(row->second);
}

bool RoundEnded(const Disk& disk, uint64_t run_id, uint32_t number) {
  v1::RoundRecord round;
  return Find(disk, Table::kRounds, coordinator::RoundKey(run_id, number), round) &&
         coordinator::PhaseOrder(round.phase()) >= coordinator::PhaseOrder(v1::ROUND_PHASE_DONE);
}

}  // namespace

void Acknowledgements::Add(const Disk& disk, const Request& request,
                           const absl::StatusOr<Response>& response) {
  if (!response.ok()) return;
  if (const auto* complete = std::get_if<v1::CompleteRequest>(&request)) {
    if (!complete->has_result()) return;
    TaskId task = TaskId::From(complete->task());
    std::string digest = Sha256Hex(coordinator::DeterministicBytes(complete->result()));
    CheckTask(disk, task, digest);
    results_[task] = std::move(digest);
  } else if (const auto* lease = std::get_if<v1::LeaseRequest>(&request)) {
    AddGrants(disk, *lease, std::get<v1::LeaseResponse>(*response));
  } else if (const auto* registration = std::get_if<v1::RegisterRequest>(&request)) {
    uint64_t incarnation = std::get<v1::RegisterResponse>(*response).incarnation();
    auto [known, fresh] = incarnations_.emplace(registration->request_id(), incarnation);
    if (known->second != incarnation) invariants_.Fail("I5: one registration got two incarnations");
    uint64_t& newest = newest_[registration->name()];
    newest = std::max(newest, incarnation);
    v1::WorkerRecord worker;
    if (!Find(disk, Table::kWorkers, registration->name(), worker) || worker.incarnation() < incarnation)
      invariants_.Fail("I5: a registration was acknowledged and not stored: " + registration->name());
  } else if (const auto* submit = std::get_if<v1::SubmitRunRequest>(&request)) {
    AddRun(disk, submit->request_id(), std::get<v1::SubmitRunResponse>(*response).run_id());
  } else if (const auto* fork = std::get_if<coordinator::ForkRun>(&request)) {
    AddRun(disk, fork->request.request_id(), std::get<v1::SubmitRunResponse>(*response).run_id());
  } else if (const auto* checkpoint = std::get_if<v1::CommitCheckpointRequest>(&request)) {
    std::pair<uint64_t, uint32_t> round{checkpoint->task().run_id(), checkpoint->task().round()};
    CheckCheckpoint(disk, round, checkpoint->step());
    checkpoints_[round] = std::max(checkpoints_[round], checkpoint->step());
  } else if (std::holds_alternative<v1::JoinTrainingRequest>(request)) {
    const auto& joined = std::get<v1::JoinTrainingResponse>(*response);
    const v1::GenerationRecord& generation = joined.generation();
    v1::GenerationRecord stored;
    if (joined.formed() &&
        !Find(disk, Table::kGenerations,
              coordinator::GenerationKey(generation.run_id(), generation.round(), generation.generation()),
              stored))
      invariants_.Fail(
          absl::StrCat("I5: generation ", generation.generation(), " was announced and not stored"));
  }
}

void Acknowledgements::AddRun(const Disk& disk, const std::string& request_id, uint64_t run_id) {
  auto [known, fresh] = runs_.emplace(request_id, run_id);
  if (known->second != run_id) invariants_.Fail("I5: one submission made two runs");
  if (disk.count({Table::kRuns, coordinator::RunKey(run_id)}) == 0)
    invariants_.Fail(absl::StrCat("I5: run ", run_id, " was acknowledged and not stored"));
}

void Acknowledgements::AddGrants(const Disk& disk, const v1::LeaseRequest& request,
                                 const v1::LeaseResponse& response) {
  if (response.grants().empty()) return;
  std::vector<uint64_t> tokens;
  for (const v1::Grant& grant : response.grants()) tokens.push_back(grant.token());
  auto [known, fresh] = grants_.emplace(request.request_id(), tokens);
  for (uint64_t token : tokens) {
    if (std::count(known->second.begin(), known->second.end(), token) == 0)
      invariants_.Fail("I5: a repeated request for work got another grant");
  }
}

void Acknowledgements::CheckTask(const Disk& disk, const TaskId& task, const std::string& digest) const {
  v1::TaskRecord record;
  if (Find(disk, Table::kTasks, coordinator::TaskRowKey(task), record)) {
    if (record.state() != v1::TASK_STATE_DONE || record.result_digest() != digest)
      invariants_.Fail("I5: acknowledged and not DONE: " + task.ToString());
  } else if (!RoundEnded(disk, task.run_id, task.round)) {
    // Only a finished round's tasks may be forgotten.
    invariants_.Fail("I5: an acknowledged task is gone: " + task.ToString());
  }
}

void Acknowledgements::CheckCheckpoint(const Disk& disk, std::pair<uint64_t, uint32_t> round,
                                       uint64_t step) const {
  if (RoundEnded(disk, round.first, round.second)) return;
  uint64_t newest = 0;
  const std::string first = coordinator::GenerationKey(round.first, round.second, 0);
  for (auto row = disk.lower_bound({Table::kGenerations, first});
       row != disk.end() && row->first.first == Table::kGenerations &&
       row->first.second.compare(0, 12, first, 0, 12) == 0;
       ++row) {
    v1::GenerationRecord generation;
    generation.ParseFromString(row->second);
    newest = std::max(newest, generation.checkpoint_step());
  }
  if (newest < step) invariants_.Fail(absl::StrCat("I5: the checkpoint of step ", step, " is lost"));
}

void Acknowledgements::Check(const Disk& disk) const {
  for (const auto& [task, digest] : results_) CheckTask(disk, task, digest);
  for (const auto& [round, step] : checkpoints_) CheckCheckpoint(disk, round, step);
  for (const auto& [request_id, run_id] : runs_) {
    if (disk.count({Table::kRuns, coordinator::RunKey(run_id)}) == 0)
      invariants_.Fail(absl::StrCat("I5: run ", run_id, " is lost"));
  }
  for (const auto& [name, incarnation] : newest_) {
    v1::WorkerRecord worker;
    if (!Find(disk, Table::kWorkers, name, worker) || worker.incarnation() < incarnation)
      invariants_.Fail("I3: incarnation went back: " + name);
  }
}

}  // namespace rsidiff::simulation
