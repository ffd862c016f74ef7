#include "tests/simulation/worker.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/digest.h"
#include "common/base/protocol.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::simulation {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(4);
constexpr absl::Duration kPollWait = absl::Seconds(6);
constexpr absl::Duration kStepTime = absl::Milliseconds(300);
constexpr absl::Duration kCollectiveTimeout = absl::Seconds(2);

}  // namespace

std::string Worker::RequestId() {
  return absl::StrCat(name_, "-", env_.world.random.Next());
}

template <class Request>
Request Worker::Header() const {
  Request request;
  request.set_worker(name_);
  request.set_incarnation(incarnation_);
  return request;
}

void Worker::After(absl::Duration delay, std::function<void()> action) {
  env_.world.After(delay, process_, [self = shared_from_this(), action = std::move(action)] { action(); });
}

void Worker::Call(coordinator::Request request, absl::Duration timeout, CoordinatorHost::Callback done) {
  env_.network.Call(
      process_, std::move(request), timeout,
      [self = shared_from_this(), done = std::move(done)](auto response) { done(std::move(response)); });
}

void Worker::Start() {
  Register();
}

void Worker::Kill(Connections connections) {
  process_->alive = false;
  if (connections == Connections::kClosed) env_.network.Disconnect(process_);
  for (auto& [token, task] : tasks_) {
    if (task.generation != 0) env_.gangs[task.generation].present.erase(token);
  }
}

void Worker::Exit() {
  if (!process_->alive) return;
  Kill();
  env_.exited(name_);
}

bool Worker::Refused(const absl::Status& status) {
  if (status.ok()) return false;
  if (absl::IsNotFound(status)) Register();
  return true;
}

void Worker::Register() {
  if (std::exchange(registering_, true)) return;
  v1::RegisterRequest request;
  request.set_request_id(RequestId());
  request.set_name(name_);
  request.set_protocol_version(kProtocolVersion);
  request.set_incarnation(incarnation_);
  FillHeld(request.mutable_held());
  Call(request, kCallTimeout, [this](absl::StatusOr<coordinator::Response> answer) {
    registering_ = false;
    if (!answer.ok()) return Exit();
    const auto& response = std::get<v1::RegisterResponse>(*answer);
    if (response.incarnation() != incarnation_) draining_ = false;
    incarnation_ = response.incarnation();
    for (uint64_t token : response.dropped_tokens()) Drop(token);
    if (!std::exchange(beating_, true)) Heartbeat();
    Lease();
  });
}

void Worker::FillHeld(google::protobuf::RepeatedPtrField<v1::HeldLease>* held) const {
  for (const auto& [token, task] : tasks_) {
    v1::HeldLease* lease = held->Add();
    lease->set_token(token);
    *lease->mutable_task() = task.grant.task();
    lease->set_generation(task.generation);
    lease->set_step(task.step);
    lease->set_loss(0.1);
  }
}

void Worker::Heartbeat() {
  After(env_.world.random.Between(absl::Milliseconds(4'500), absl::Milliseconds(5'500)),
        [this] { Heartbeat(); });
  if (registering_) return;
  auto request = Header<v1::HeartbeatRequest>();
  FillHeld(request.mutable_held());
  uint64_t incarnation = incarnation_;
  Call(request, kCallTimeout, [this, incarnation](absl::StatusOr<coordinator::Response> answer) {
    if (incarnation != incarnation_) return;
    if (absl::IsAborted(answer.status())) return Exit();
    if (Refused(answer.status())) return;
    const auto& response = std::get<v1::HeartbeatResponse>(*answer);
    for (uint64_t token : response.dropped_tokens()) Drop(token);
    for (uint64_t token : response.regroup_tokens()) {
      auto task = tasks_.find(token);
      if (task != tasks_.end() && task->second.generation != 0)
        env_.gangs[task->second.generation].leaving = true;
    }
    draining_ = response.draining();
    if (draining_ && tasks_.empty()) return Exit();
    if (response.has_drain_left_ms())
      After(absl::Milliseconds(response.drain_left_ms()), [this, incarnation] {
        if (incarnation == incarnation_) ReturnAll();
      });
  });
}

void Worker::Lease() {
  if (leasing_ || registering_ || draining_ || !tasks_.empty()) return;
  leasing_ = true;
  auto request = Header<v1::LeaseRequest>();
  request.set_request_id(RequestId());
  request.set_max_tasks(1 + env_.world.random.Next() % 2);
  request.set_wait_ms(absl::ToInt64Milliseconds(kPollWait));
  uint64_t incarnation = incarnation_;
  Call(request, kPollWait + kCallTimeout, [this, incarnation](absl::StatusOr<coordinator::Response> answer) {
    leasing_ = false;
    if (incarnation != incarnation_) return Lease();  // an answer to what this process was before
    if (absl::IsAborted(answer.status())) return Exit();
    if (Refused(answer.status())) return;
    for (const v1::Grant& grant : std::get<v1::LeaseResponse>(*answer).grants()) Begin(grant);
    Lease();
  });
}

void Worker::Begin(const v1::Grant& grant) {
  uint64_t token = grant.token();
  tasks_[token].grant = grant;
  if (grant.task().kind() == v1::TASK_KIND_TRAIN) return Join(token);
  After(env_.world.random.Between(absl::Milliseconds(100), absl::Seconds(3)),
        [this, token] { Finish(token); });
}

void Worker::Finish(uint64_t token) {
  auto task = tasks_.find(token);
  if (task == tasks_.end()) return;
  auto request = Header<v1::CompleteRequest>();
  request.set_request_id(RequestId());
  *request.mutable_task() = task->second.grant.task();
  request.set_token(token);
  if (Poisoned(task->second.grant)) {
    request.set_error(kPoisonError);
  } else if (env_.world.random.Chance(env_.faults.error)) {
    request.set_error("out of luck");
  } else if (env_.world.random.Chance(env_.faults.returned)) {
    request.set_returned(true);
  } else {
    *request.mutable_result() = coordinator::FakeResult(task->second.grant.payload());
  }
  Report(token, std::move(request));
}

bool Worker::Poisoned(const v1::Grant& grant) const {
  return grant.payload().spec().seed() == kPoisonSeed && grant.task().kind() == v1::TASK_KIND_SCORE &&
         grant.task().index() == 0;
}

void Worker::ReturnAll() {
  for (const auto& [token, task] : tasks_) {
    if (task.grant.task().kind() == v1::TASK_KIND_TRAIN) continue;  // leaves with its gang
    auto request = Header<v1::CompleteRequest>();
    request.set_request_id(RequestId());
    *request.mutable_task() = task.grant.task();
    request.set_token(token);
    request.set_returned(true);
    Report(token, std::move(request));
  }
}

void Worker::Report(uint64_t token, v1::CompleteRequest request) {
  Call(request, kCallTimeout, [this, token](absl::StatusOr<coordinator::Response> answer) {
    if (absl::IsInvalidArgument(answer.status())) env_.invariants.Fail(answer.status().ToString());
    Drop(token);
    Refused(answer.status());
  });
}

void Worker::Drop(uint64_t token) {
  auto task = tasks_.find(token);
  if (task == tasks_.end()) return;
  if (task->second.generation != 0) env_.gangs[task->second.generation].present.erase(token);
  tasks_.erase(task);
  if (draining_ && tasks_.empty()) return Exit();
  Lease();
}

void Worker::Join(uint64_t token) {
  auto task = tasks_.find(token);
  if (task == tasks_.end()) return;
  auto request = Header<v1::JoinTrainingRequest>();
  request.set_request_id(RequestId());
  *request.mutable_task() = task->second.grant.task();
  request.set_token(token);
  request.set_store_address(name_ + ":29500");
  request.set_step(task->second.step);
  request.set_has_state(task->second.has_state);
  request.set_last_generation(task->second.last_generation);
  request.set_wait_ms(absl::ToInt64Milliseconds(kPollWait));
  Call(request, kPollWait + kCallTimeout, [this, token](absl::StatusOr<coordinator::Response> answer) {
    if (!answer.ok()) {
      Drop(token);
      Refused(answer.status());
      return;
    }
    const auto& response = std::get<v1::JoinTrainingResponse>(*answer);
    response.formed() ? Enter(token, response.generation()) : Join(token);
  });
}

void Worker::Enter(uint64_t token, const v1::GenerationRecord& generation) {
  auto task = tasks_.find(token);
  if (task == tasks_.end()) return;
  task->second.generation = generation.generation();
  task->second.last_generation = generation.generation();
  Gang& gang = env_.gangs[generation.generation()];
  gang.size = generation.members_size();
  gang.present[token] = process_;
  gang.progressed = env_.world.now();
  for (const auto& member : generation.members()) {
    if (member.has_state()) gang.step = std::max(gang.step, member.step());
  }
  gang.step = std::max(gang.step, generation.checkpoint_step());
  Watch(token, generation.generation());
  if (gang.present.size() < gang.size || std::exchange(gang.running, true)) return;
  Environment env = env_;
  uint64_t id = generation.generation();
  uint64_t steps = task->second.grant.payload().spec().train().steps();
  env_.world.After(kStepTime, [env, id, steps] { RunStep(env, id, steps); });
}

void Worker::RunStep(const Environment& env, uint64_t generation, uint64_t steps) {
  Gang& gang = env.gangs[generation];
  if (gang.present.size() < gang.size) return;
  for (const auto& [token, process] : gang.present) {
    // A paused member holds everybody up until their timeouts.
    if (env.world.now() < process->paused_until) return;
  }
  if (gang.step < steps) ++gang.step;
  gang.progressed = env.world.now();
  if (gang.step < steps && !gang.leaving) {
    env.world.After(kStepTime, [env, generation, steps] { RunStep(env, generation, steps); });
  }
}

void Worker::Watch(uint64_t token, uint64_t generation) {
  After(absl::Milliseconds(250), [this, token, generation] {
    auto task = tasks_.find(token);
    if (task == tasks_.end() || task->second.generation != generation) return;
    Gang& gang = env_.gangs[generation];
    if (gang.present.size() == gang.size || gang.running) {
      if (gang.step > task->second.step || gang.running) task->second.has_state = true;
      bool checkpoint = gang.step / 4 > task->second.step / 4;
      task->second.step = gang.step;
      if (checkpoint && gang.present.begin()->first == token) CommitCheckpoint(token);
    }
    uint64_t steps = task->second.grant.payload().spec().train().steps();
    if (gang.running && gang.step >= steps) {
      task->second.generation = 0;
      return Finish(token);
    }
    if ((gang.running && gang.leaving) || env_.world.now() > gang.progressed + kCollectiveTimeout)
      return Leave(token);
    Watch(token, generation);
  });
}

void Worker::Leave(uint64_t token) {
  Task& task = tasks_.at(token);
  env_.gangs[task.generation].present.erase(token);
  task.generation = 0;
  Join(token);
}

void Worker::CommitCheckpoint(uint64_t token) {
  const Task& task = tasks_.at(token);
  auto request = Header<v1::CommitCheckpointRequest>();
  request.set_request_id(RequestId());
  *request.mutable_task() = task.grant.task();
  request.set_token(token);
  request.set_generation(task.generation);
  request.set_step(task.step);
  request.set_checkpoint(Sha256Hex(
      absl::StrCat("state ", task.step, absl::StrJoin(task.grant.payload().train().manifest_parts(), ""))));
  Call(request, kCallTimeout, [](absl::StatusOr<coordinator::Response>) {});
}

}  // namespace rsidiff::simulation
