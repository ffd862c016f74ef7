#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/digest.h"
#include "common/base/status_macros.h"
#include "coordinator/state/core_impl.h"

namespace rsidiff::coordinator {
namespace {

using Member = v1::GenerationRecord::Member;

const Member* FindMember(const v1::GenerationRecord& generation, uint64_t token) {
  for (const Member& member : generation.members()) {
    if (member.token() == token) return &member;
  }
  return nullptr;
}

v1::JoinTrainingResponse Formed(const v1::GenerationRecord& generation, uint64_t token) {
  v1::JoinTrainingResponse response;
  response.set_formed(true);
  *response.mutable_generation() = generation;
  for (int rank = 0; rank < generation.members_size(); ++rank) {
    if (generation.members(rank).token() == token) response.set_rank(rank);
  }
  return response;
}

absl::Status StaleToken(const TaskId& task, uint64_t token) {
  return absl::AbortedError(
      absl::StrCat("FENCED: token is not valid any more for ", task.ToString(), ": ", token));
}

}  // namespace

void Core::Impl::HandleJoin(uint64_t event, const v1::JoinTrainingRequest& request) {
  auto worker = CallingWorker(request.worker(), request.incarnation());
  if (!worker.ok()) return Answer(event, worker.status());
  auto known = FindRequest(request.request_id(), v1::JoinTrainingRequest::descriptor()->name());
  if (!known.ok()) return Answer(event, known.status());
  TaskId id = TaskId::From(request.task());
  Lease* lease = ValidLease(request.token(), id, **worker);
  if (lease == nullptr || id.kind != v1::TASK_KIND_TRAIN)
    return Answer(event, StaleToken(id, request.token()));
  if (lease->unknown) Reassert(*lease);
  lease->deadline = std::max(lease->deadline, now_ + options_.lease_ttl);
  lease->step = std::max(lease->step, request.step());

  Training& training = runs_.at(id.run_id).rounds.at(id.round).training;
  const Member* before = nullptr;
  if (!training.generations.empty()) {
    const v1::GenerationRecord& current = training.generations.back();
    before = FindMember(current, request.token());
    if (before != nullptr && current.generation() > request.last_generation()) {
      return Answer(event, Formed(current, request.token()));
    }
  }
  if (training.joiners.empty()) training.first_join = now_;
  JoiningWorker& joiner = training.joiners[request.token()];
  Member& member = joiner.member;
  member.set_worker(request.worker());
  member.set_incarnation(request.incarnation());
  member.set_token(request.token());
  member.set_store_address(request.store_address());
  member.set_step(request.step());
  member.set_has_state(request.has_state());
  member.set_joined_generation(before == nullptr ? 0 : before->joined_generation());
  joiner.refused_checkpoints.assign(request.refused_checkpoints().begin(),
                                    request.refused_checkpoints().end());
  EndGoneMembers(training, request);
  joining_.insert({id.run_id, id.round});

  absl::Time deadline = now_ + absl::Milliseconds(std::min<uint32_t>(request.wait_ms(), 20'000));
  for (JoinPoll& poll : joiner.polls) {
    if (poll.request_id != request.request_id()) continue;
    poll.events.push_back(event);
    return;
  }
  joiner.polls.push_back({request.request_id(), {event}, deadline});
}

// A dead process refuses connections, so a survivor knows of its end long before the lease runs out. Should
// the survivor be wrong, the two could not train together anyhow; the other one is fenced and comes as a
// newcomer.
void Core::Impl::EndGoneMembers(const Training& training, const v1::JoinTrainingRequest& request) {
  if (training.generations.empty()) return;
  const v1::GenerationRecord& current = training.generations.back();
  if (current.generation() != request.last_generation()) return;
  for (uint64_t token : request.gone_tokens()) {
    const Member* gone = FindMember(current, token);
    if (gone == nullptr || token == request.token() || training.joiners.count(token) > 0) continue;
    EndLease(token, LeaseEnd::kLost,
             absl::StrCat(gone->worker(), "'s process is gone, ", request.worker(), " found"));
  }
}

MembershipInput Core::Impl::Membership(const Run& run, const Round& round) const {
  MembershipInput input;
  const Training& training = round.training;
  input.now = now_;
  input.first_join = training.first_join;
  input.join_window = options_.join_window;
  input.train_min = run.record.spec().workers().train_min();
  input.train_max = run.record.spec().workers().train_max();
  if (!training.generations.empty()) input.current = training.generations.back();
  for (const auto& [token, joiner] : training.joiners) {
    auto worker = workers_.find(joiner.member.worker());
    bool draining = worker != workers_.end() && worker->second.record.state() == v1::WORKER_STATE_DRAINING;
    input.joiners.push_back({joiner.member, draining, joiner.refused_checkpoints});
  }
  auto task =
      round.tasks.find({run.id(), round.record.round(), v1::TASK_KIND_TRAIN, v1::PURPOSE_TRAINING, 0});
  if (task == round.tasks.end()) return input;
  for (const v1::TaskLease& lease : task->second.record.gang()) input.leases.push_back(lease.token());
  std::sort(input.leases.begin(), input.leases.end());
  for (const auto& [name, worker] : workers_) {
    if (worker.record.state() == v1::WORKER_STATE_ACTIVE && MayTrain(worker, run, round, task->second)) {
      ++input.free_workers;
    }
  }
  return input;
}

void Core::Impl::ServeTraining() {
  std::set<std::pair<uint64_t, uint32_t>> joining = joining_;
  for (const auto& [run_id, number] : joining) {
    Run& run = runs_.at(run_id);
    ConsiderTraining(run, run.rounds.at(number));
  }
}

void Core::Impl::ConsiderTraining(Run& run, Round& round) {
  Training& training = round.training;
  MembershipDecision decision = DecideMembership(Membership(run, round));
  training.lacks_workers = decision.lacks_workers;
  if (decision.action == MembershipDecision::Action::kForm) {
    FormGeneration(run, round, decision);
  } else if (decision.reason != training.waiting) {
    training.waiting = decision.reason;
    Log(run.id(), round.record.round(), "",
        absl::StrCat("training of round ", round.record.round(), ": ", decision.reason));
  }
  for (auto& [token, joiner] : training.joiners) {
    auto due = std::partition(joiner.polls.begin(), joiner.polls.end(),
                              [this](const JoinPoll& poll) { return poll.deadline > now_; });
    for (auto poll = due; poll != joiner.polls.end(); ++poll) {
      for (uint64_t event : poll->events) Answer(event, v1::JoinTrainingResponse());
    }
    joiner.polls.erase(due, joiner.polls.end());
  }
  if (training.joiners.empty()) joining_.erase({run.id(), round.record.round()});
}

void Core::Impl::FormGeneration(Run& run, Round& round, const MembershipDecision& decision) {
  Training& training = round.training;
  v1::GenerationRecord generation;
  generation.set_run_id(run.id());
  generation.set_round(round.record.round());
  generation.set_generation(meta_.next_generation());
  generation.set_number(training.generation_count() + 1);
  meta_.set_next_generation(meta_.next_generation() + 1);
  if (!training.generations.empty()) {
    SetCheckpoints(decision.checkpoints, generation);
    LogRefusal(run, training.generations.back(), generation);
  }
  std::vector<std::string> names;
  for (const Member& member : decision.members) {
    Member& added = *generation.add_members();
    added = member;
    if (added.joined_generation() == 0) added.set_joined_generation(generation.generation());
    names.push_back(member.worker());
  }
  Put(Table::kGenerations, GenerationKey(run.id(), round.record.round(), generation.generation()),
      generation);
  sync_ = true;
  ++statistics_.generations_formed;
  Log(run.id(), round.record.round(), "",
      absl::StrCat("round ", round.record.round(), " trains on ", absl::StrJoin(names, ", "), " (generation ",
                   generation.generation(), "): ", decision.reason));
  for (const Member& member : generation.members()) {
    auto joiner = training.joiners.find(member.token());
    for (const JoinPoll& poll : joiner->second.polls) {
      for (uint64_t event : poll.events) Answer(event, Formed(generation, member.token()));
    }
    training.joiners.erase(joiner);
  }
  training.generations.push_back(std::move(generation));
  while (training.generations.size() > Training::kKeptGenerations) {
    Delete(Table::kGenerations,
           GenerationKey(run.id(), round.record.round(), training.generations.front().generation()));
    training.generations.erase(training.generations.begin());
  }
  training.waiting.clear();
  for (uint64_t token : decision.released) {
    EndLease(token, LeaseEnd::kReturned, "the training goes on without this worker");
  }
}

void Core::Impl::LogRefusal(const Run& run, const v1::GenerationRecord& before,
                            const v1::GenerationRecord& now) {
  if (before.checkpoint() == now.checkpoint()) return;
  ++statistics_.checkpoints_refused;
  Log(run.id(), now.round(), "",
      absl::StrCat(
          "training of round ", now.round(), ": the checkpoint of step ", before.checkpoint_step(),
          " is damaged or gone (", before.checkpoint(), "); the training goes on from ",
          now.checkpoint().empty() ? "the start" : absl::StrCat("the one of step ", now.checkpoint_step())));
}

bool Core::Impl::MustRegroup(uint64_t token) const {
  auto lease = leases_.find(token);
  if (lease == leases_.end() || lease->second.task.kind != v1::TASK_KIND_TRAIN) return false;
  const TaskId& id = lease->second.task;
  const Run& run = runs_.at(id.run_id);
  const Round& round = run.rounds.at(id.round);
  const Training& training = round.training;
  if (training.generations.empty() || training.joiners.count(token) > 0) return false;
  if (FindMember(training.generations.back(), token) == nullptr) return false;
  std::vector<uint64_t> draining;
  for (const Member& member : training.generations.back().members()) {
    auto worker = workers_.find(member.worker());
    if (worker != workers_.end() && worker->second.record.state() == v1::WORKER_STATE_DRAINING) {
      draining.push_back(member.token());
    }
  }
  return DecideRegroup(Membership(run, round), draining).regroup;
}

void Core::Impl::LeaveTraining(const TaskId& task, uint64_t token, const absl::Status& status) {
  Training& training = runs_.at(task.run_id).rounds.at(task.round).training;
  auto joiner = training.joiners.find(token);
  if (joiner == training.joiners.end()) return;
  for (const JoinPoll& poll : joiner->second.polls) {
    for (uint64_t event : poll.events) Answer(event, status);
  }
  training.joiners.erase(joiner);
  if (training.joiners.empty()) joining_.erase({task.run_id, task.round});
}

absl::StatusOr<Response> Core::Impl::Handle(const v1::CommitCheckpointRequest& request) {
  RSIDIFF_ASSIGN_OR_RETURN(Worker * worker, CallingWorker(request.worker(), request.incarnation()));
  RSIDIFF_RETURN_IF_ERROR(
      FindRequest(request.request_id(), v1::CommitCheckpointRequest::descriptor()->name()).status());
  if (!IsDigest(request.checkpoint())) {
    return absl::InvalidArgumentError(
        absl::StrCat("checkpoint is not a SHA-256 digest: \"", request.checkpoint().substr(0, 80), "\""));
  }
  TaskId id = TaskId::From(request.task());
  Lease* lease = ValidLease(request.token(), id, *worker);
  if (lease == nullptr || id.kind != v1::TASK_KIND_TRAIN) return StaleToken(id, request.token());
  Training& training = runs_.at(id.run_id).rounds.at(id.round).training;
  if (training.generations.empty()) return absl::AbortedError("FENCED: no generation was formed");
  v1::GenerationRecord& current = training.generations.back();
  if (current.checkpoint_step() == request.step() && current.checkpoint() == request.checkpoint()) {
    return v1::CommitCheckpointResponse();
  }
  if (current.generation() != request.generation() || FindMember(current, request.token()) == nullptr) {
    return absl::AbortedError(
        absl::StrCat("FENCED: generation is not the current one: ", request.generation()));
  }
  if (request.step() <= current.checkpoint_step()) {
    return absl::AbortedError(absl::StrCat("FENCED: step is not beyond the last checkpoint's ",
                                           current.checkpoint_step(), ": ", request.step()));
  }
  std::vector<v1::GenerationRecord::Checkpoint> checkpoints = CheckpointsOf(current);
  v1::GenerationRecord::Checkpoint& last = *checkpoints.emplace(checkpoints.begin());
  last.set_step(request.step());
  last.set_digest(request.checkpoint());
  SetCheckpoints(checkpoints, current);
  Put(Table::kGenerations, GenerationKey(id.run_id, id.round, current.generation()), current);
  // Progress: losing workers now and then must not use up a long training's budget.
  Task& task = *FindTask(id);
  task.record.set_lost_attempts(0);
  PutTask(task);
  lease->step = std::max(lease->step, request.step());
  sync_ = true;
  return v1::CommitCheckpointResponse();
}

}  // namespace rsidiff::coordinator
