#include "tests/bench/coordinator/simulated_worker.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace rsidiff::coordinator {
namespace {

constexpr uint32_t kPollWaitMs = 10'000;  // as the agent's
constexpr std::chrono::seconds kDeadline{30};
constexpr absl::Duration kPauseAfterError = absl::Milliseconds(200);

}  // namespace

SimulatedWorker::SimulatedWorker(const std::shared_ptr<grpc::Channel>& channel,
                                 SimulatedWorkerOptions options, Timers* timers, LoadFigures* figures)
    : stub_(v1::WorkerService::NewStub(channel)),
      options_(std::move(options)),
      timers_(*timers),
      figures_(*figures),
      random_(options_.seed) {}

void SimulatedWorker::Stop() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
  for (grpc::ClientContext* context : contexts_) context->TryCancel();
}

template <class Request, class Response>
void SimulatedWorker::Call(const char* name, Method<Request, Response> method, Request request,
                           std::function<void(const Response&, absl::Duration)> done,
                           void (SimulatedWorker::*again)()) {
  struct Pending {
    grpc::ClientContext context;
    Request request;
    Response response;
    absl::Time begun = absl::Now();
  };
  auto call = std::make_shared<Pending>();
  call->request = std::move(request);
  call->context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  call->context.set_wait_for_ready(true);
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) return;
    contexts_.insert(&call->context);
    ++calls_;
  }
  auto finish = [this, name, call, done = std::move(done), again](const grpc::Status& status) {
    const absl::Duration took = absl::Now() - call->begun;
    bool stopping;
    {
      absl::MutexLock lock(&mutex_);
      contexts_.erase(&call->context);
      stopping = stopping_;
    }
    if (!stopping && status.ok()) done(call->response, took);
    if (!stopping && !status.ok()) {
      figures_.CountError(absl::StrCat(name, ": ", status.error_code(), " ", status.error_message()));
      After(kPauseAfterError, again);
    }
    --calls_;
  };
  (stub_->async()->*method)(&call->context, &call->request, &call->response, std::move(finish));
}

void SimulatedWorker::After(absl::Duration delay, void (SimulatedWorker::*action)()) {
  timers_.After(delay, [this, action] { (this->*action)(); });
}

double SimulatedWorker::Random(double low, double high) {
  absl::MutexLock lock(&mutex_);
  return std::uniform_real_distribution<double>(low, high)(random_);
}

void SimulatedWorker::Register() {
  Call<v1::RegisterRequest, v1::RegisterResponse>(
      "register", &v1::WorkerService::StubInterface::async_interface::Register, MakeRegister(options_.name),
      [this](const v1::RegisterResponse& response, absl::Duration) {
        identity_ = {options_.name, response.incarnation()};
        heartbeat_interval_ = absl::Milliseconds(response.lease_ttl_ms()) / 3;
        figures_.CountRegistration();
        After(heartbeat_interval_ * Random(0, 1), &SimulatedWorker::Heartbeat);
        Lease();
      },
      &SimulatedWorker::Register);
}

void SimulatedWorker::Heartbeat() {
  std::vector<v1::Grant> held;
  {
    absl::MutexLock lock(&mutex_);
    held.assign(held_.begin(), held_.end());
  }
  Call<v1::HeartbeatRequest, v1::HeartbeatResponse>(
      "heartbeat", &v1::WorkerService::StubInterface::async_interface::Heartbeat,
      MakeHeartbeat(identity_, held),
      [this](const v1::HeartbeatResponse& response, absl::Duration took) {
        figures_.Time("heartbeat", took);
        for (uint64_t token : response.dropped_tokens()) {
          absl::MutexLock lock(&mutex_);
          // The one that is being completed may be done already.
          auto begin = held_.begin() + (completing_ && !held_.empty() ? 1 : 0);
          bool lost =
              std::any_of(begin, held_.end(), [token](const v1::Grant& g) { return g.token() == token; });
          if (lost) figures_.CountError("a held lease was dropped");
        }
        After(heartbeat_interval_ * Random(0.9, 1.1), &SimulatedWorker::Heartbeat);
      },
      &SimulatedWorker::Heartbeat);
}

void SimulatedWorker::Lease() {
  Call<v1::LeaseRequest, v1::LeaseResponse>(
      "lease", &v1::WorkerService::StubInterface::async_interface::Lease,
      MakeLease(identity_, options_.batch, kPollWaitMs),
      [this](const v1::LeaseResponse& response, absl::Duration took) {
        if (response.grants().empty()) return Lease();
        figures_.Time("lease", took);
        {
          absl::MutexLock lock(&mutex_);
          held_.assign(response.grants().begin(), response.grants().end());
        }
        WorkOn();
      },
      &SimulatedWorker::Lease);
}

void SimulatedWorker::WorkOn() {
  if (options_.task_time == absl::ZeroDuration()) return Complete();
  After(options_.task_time * Random(0.5, 1.5), &SimulatedWorker::Complete);
}

void SimulatedWorker::Complete() {
  v1::CompleteRequest request;
  {
    absl::MutexLock lock(&mutex_);
    completing_ = true;
    request = MakeCompletion(identity_, held_.front());
  }
  Call<v1::CompleteRequest, v1::CompleteResponse>(
      "complete", &v1::WorkerService::StubInterface::async_interface::Complete, std::move(request),
      [this](const v1::CompleteResponse&, absl::Duration took) {
        figures_.Time("complete", took);
        figures_.CountCompletion();
        bool more;
        {
          absl::MutexLock lock(&mutex_);
          held_.pop_front();
          completing_ = false;
          more = !held_.empty();
        }
        more ? WorkOn() : Lease();
      },
      &SimulatedWorker::Complete);
}

}  // namespace rsidiff::coordinator
