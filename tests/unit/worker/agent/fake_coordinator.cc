#include "tests/unit/worker/agent/fake_coordinator.h"

#include <grpcpp/grpcpp.h>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/protocol.h"

namespace rsidiff::worker {

FakeCoordinator::FakeCoordinator() {
  Serve();
}

FakeCoordinator::~FakeCoordinator() {
  Kill();
}

std::string FakeCoordinator::address() const {
  return absl::StrCat("127.0.0.1:", port_);
}

void FakeCoordinator::Serve() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address(), grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(static_cast<v1::WorkerService::Service*>(this));
  builder.RegisterService(static_cast<v1::ControlService::Service*>(this));
  {
    absl::MutexLock lock(&mutex_);
    serving_ = true;
  }
  server_ = builder.BuildAndStart();
}

void FakeCoordinator::Kill() {
  {
    absl::MutexLock lock(&mutex_);
    serving_ = false;
  }
  if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
  server_.reset();
}

void FakeCoordinator::Restart() {
  Serve();
}

uint64_t FakeCoordinator::AddTask(v1::TaskKind kind, const v1::TaskPayload& payload) {
  absl::MutexLock lock(&mutex_);
  v1::Grant grant;
  grant.set_token(next_token_);
  *grant.mutable_payload() = payload;
  grant.mutable_task()->set_run_id(1);
  grant.mutable_task()->set_kind(kind);
  grant.mutable_task()->set_index(static_cast<uint32_t>(next_token_));
  pending_.push_back(grant);
  return next_token_++;
}

void FakeCoordinator::LoseReplies(const std::string& method, int count, grpc::StatusCode code) {
  absl::MutexLock lock(&mutex_);
  faults_[method] = {count, 0, code};
}

void FakeCoordinator::Refuse(const std::string& method, int count, grpc::StatusCode code) {
  absl::MutexLock lock(&mutex_);
  faults_[method] = {0, count, code};
}

void FakeCoordinator::FailResults(int count) {
  absl::MutexLock lock(&mutex_);
  unsound_results_ = count;
}

void FakeCoordinator::SetDraining(bool draining) {
  absl::MutexLock lock(&mutex_);
  draining_ = draining;
}

void FakeCoordinator::Drop(uint64_t token) {
  absl::MutexLock lock(&mutex_);
  dropped_.insert(token);
}

void FakeCoordinator::SetRegroup(uint64_t token, bool regroup) {
  absl::MutexLock lock(&mutex_);
  if (regroup) {
    regroup_.insert(token);
  } else {
    regroup_.erase(token);
  }
}

void FakeCoordinator::SetGeneration(uint64_t generation) {
  absl::MutexLock lock(&mutex_);
  generation_ = generation;
}

void FakeCoordinator::ForgetWorkers() {
  absl::MutexLock lock(&mutex_);
  known_ = false;
}

void FakeCoordinator::SetTtl(uint32_t ms) {
  absl::MutexLock lock(&mutex_);
  ttl_ms_ = ms;
}

FakeCoordinator::View FakeCoordinator::view() const {
  absl::MutexLock lock(&mutex_);
  return view_;
}

bool FakeCoordinator::Await(std::function<bool(const View&)> predicate) {
  absl::MutexLock lock(&mutex_);
  auto holds = [this, &predicate] {
    mutex_.AssertReaderHeld();
    return predicate(view_);
  };
  return mutex_.AwaitWithTimeout(absl::Condition(&holds), absl::Seconds(10));
}

bool FakeCoordinator::Refused(const std::string& method, grpc::Status* status) {
  Fault& fault = faults_[method];
  if (fault.refusals == 0) return false;
  --fault.refusals;
  *status = grpc::Status(fault.code, "refused by the test");
  return true;
}

grpc::Status FakeCoordinator::Answer(const std::string& method) {
  Fault& fault = faults_[method];
  if (fault.lost_replies == 0) return grpc::Status::OK;
  --fault.lost_replies;
  return grpc::Status(fault.code, "answer lost by the test");
}

grpc::Status FakeCoordinator::Register(grpc::ServerContext*, const v1::RegisterRequest* request,
                                       v1::RegisterResponse* response) {
  absl::MutexLock lock(&mutex_);
  grpc::Status refused;
  if (Refused("Register", &refused)) return refused;
  view_.registrations.push_back(*request);
  if (!known_ || request->incarnation() != view_.incarnation) ++view_.incarnation;
  known_ = true;
  response->set_incarnation(view_.incarnation);
  response->set_lease_ttl_ms(ttl_ms_);
  for (const v1::HeldLease& held : request->held()) {
    if (dropped_.count(held.token()) > 0) response->add_dropped_tokens(held.token());
  }
  return Answer("Register");
}

grpc::Status FakeCoordinator::Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request,
                                        v1::HeartbeatResponse* response) {
  absl::MutexLock lock(&mutex_);
  grpc::Status refused;
  if (Refused("Heartbeat", &refused)) return refused;
  if (!known_) return grpc::Status(grpc::StatusCode::NOT_FOUND, "unknown worker");
  if (request->incarnation() != view_.incarnation) return grpc::Status(grpc::StatusCode::ABORTED, "FENCED");
  ++view_.heartbeats;
  view_.last_held.assign(request->held().begin(), request->held().end());
  for (const v1::HeldLease& held : request->held()) {
    if (dropped_.count(held.token()) > 0) response->add_dropped_tokens(held.token());
    if (regroup_.count(held.token()) > 0) response->add_regroup_tokens(held.token());
  }
  response->set_draining(draining_);
  response->set_lease_ttl_ms(ttl_ms_);
  return Answer("Heartbeat");
}

grpc::Status FakeCoordinator::Lease(grpc::ServerContext* context, const v1::LeaseRequest* request,
                                    v1::LeaseResponse* response) {
  absl::MutexLock lock(&mutex_);
  ++view_.lease_calls;
  grpc::Status refused;
  if (Refused("Lease", &refused)) return refused;
  view_.lease_ids.insert(request->request_id());
  auto answered = answered_.find(request->request_id());
  if (answered == answered_.end()) {
    for (uint32_t waited = 0; waited < request->wait_ms() && pending_.empty() && serving_ && !draining_;
         waited += 20) {
      auto ready = [this] {
        mutex_.AssertReaderHeld();
        return !pending_.empty() || !serving_ || draining_;
      };
      mutex_.AwaitWithTimeout(absl::Condition(&ready), absl::Milliseconds(20));
      if (context->IsCancelled()) return grpc::Status::CANCELLED;
    }
    v1::LeaseResponse grants;
    if (!pending_.empty() && !draining_) {
      *grants.add_grants() = pending_.front();
      granted_[pending_.front().token()] = pending_.front();
      pending_.pop_front();
    }
    answered = answered_.emplace(request->request_id(), grants).first;
  }
  *response = answered->second;
  ++view_.leases_answered;
  return Answer("Lease");
}

grpc::Status FakeCoordinator::Complete(grpc::ServerContext*, const v1::CompleteRequest* request,
                                       v1::CompleteResponse*) {
  absl::MutexLock lock(&mutex_);
  ++view_.complete_calls;
  grpc::Status refused;
  if (Refused("Complete", &refused)) return refused;
  if (completed_ids_.count(request->request_id()) == 0) {
    auto found = granted_.find(request->token());
    if (found == granted_.end() || dropped_.count(request->token()) > 0) {
      return grpc::Status(grpc::StatusCode::ABORTED, "FENCED");
    }
    granted_.erase(found);
    if (request->has_result() && unsound_results_ > 0) {
      --unsound_results_;
      return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "the result is not sound");
    }
    completed_ids_.insert(request->request_id());
    view_.completions.push_back(*request);
  }
  return Answer("Complete");
}

grpc::Status FakeCoordinator::JoinTraining(grpc::ServerContext*, const v1::JoinTrainingRequest* request,
                                           v1::JoinTrainingResponse* response) {
  absl::MutexLock lock(&mutex_);
  grpc::Status refused;
  if (Refused("JoinTraining", &refused)) return refused;
  if (generation_ > request->last_generation()) {
    response->set_formed(true);
    response->mutable_generation()->set_generation(generation_);
  }
  return Answer("JoinTraining");
}

grpc::Status FakeCoordinator::CommitCheckpoint(grpc::ServerContext*,
                                               const v1::CommitCheckpointRequest* request,
                                               v1::CommitCheckpointResponse*) {
  absl::MutexLock lock(&mutex_);
  grpc::Status refused;
  if (Refused("CommitCheckpoint", &refused)) return refused;
  if (request->generation() != generation_)
    return grpc::Status(grpc::StatusCode::ABORTED, "stale generation");
  return Answer("CommitCheckpoint");
}

grpc::Status FakeCoordinator::DrainWorker(grpc::ServerContext*, const v1::DrainWorkerRequest*,
                                          v1::DrainWorkerResponse*) {
  absl::MutexLock lock(&mutex_);
  ++view_.drain_calls;
  draining_ = true;
  return Answer("DrainWorker");
}

}  // namespace rsidiff::worker
