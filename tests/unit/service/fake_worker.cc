#include "tests/unit/service/fake_worker.h"

#include <grpcpp/client_context.h>

#include <chrono>
#include <utility>

#include "common/base/digest.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

constexpr std::chrono::seconds kDeadline{60};

}  // namespace

FakeWorker::FakeWorker(std::shared_ptr<grpc::Channel> channel, FakeWorkerOptions options)
    : stub_(v1::WorkerService::NewStub(std::move(channel))), options_(std::move(options)) {}

grpc::Status FakeWorker::Register() {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  context.set_wait_for_ready(true);
  v1::RegisterRequest request;
  request.set_request_id(RandomId());
  request.set_name(options_.name);
  request.set_protocol_version(options_.protocol_version);
  request.mutable_capabilities()->set_device("cpu");
  request.mutable_capabilities()->set_host("127.0.0.1");
  request.mutable_capabilities()->set_http_address(options_.http_address);
  v1::RegisterResponse response;
  grpc::Status status = stub_->Register(&context, request, &response);
  incarnation_ = response.incarnation();
  return status;
}

grpc::Status FakeWorker::WorkOnce() {
  v1::LeaseRequest lease;
  lease.set_request_id(RandomId());
  lease.set_worker(options_.name);
  lease.set_incarnation(incarnation_);
  lease.set_max_tasks(1);
  lease.set_wait_ms(options_.wait_ms);
  v1::LeaseResponse leased;
  grpc::ClientContext lease_context;
  lease_context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  grpc::Status status = stub_->Lease(&lease_context, lease, &leased);
  if (!status.ok() || leased.grants().empty()) return status;
  const v1::Grant& grant = leased.grants(0);
  if (grant.task().kind() == v1::TASK_KIND_TRAIN) {
    status = Join(grant);
    if (!status.ok()) return status;
  }
  v1::CompleteRequest complete;
  complete.set_request_id(RandomId());
  complete.set_worker(options_.name);
  complete.set_incarnation(incarnation_);
  *complete.mutable_task() = grant.task();
  complete.set_token(grant.token());
  *complete.mutable_result() = FakeResult(grant.payload());
  complete.set_seconds(0.5);
  v1::CompleteResponse completed;
  grpc::ClientContext complete_context;
  complete_context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  status = stub_->Complete(&complete_context, complete, &completed);
  // Fenced: another member of a gang has finished the task.
  if (status.error_code() == grpc::StatusCode::ABORTED) return grpc::Status::OK;
  if (status.ok()) ++completed_;
  return status;
}

grpc::Status FakeWorker::Join(const v1::Grant& grant) {
  v1::JoinTrainingRequest join;
  join.set_worker(options_.name);
  join.set_incarnation(incarnation_);
  *join.mutable_task() = grant.task();
  join.set_token(grant.token());
  join.set_store_address("127.0.0.1:1");
  join.set_wait_ms(10'000);
  v1::JoinTrainingResponse joined;
  while (!joined.formed()) {
    join.set_request_id(RandomId());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kDeadline);
    grpc::Status status = stub_->JoinTraining(&context, join, &joined);
    if (!status.ok()) return status;
  }
  return grpc::Status::OK;
}

grpc::Status FakeWorker::WorkUntilIdle() {
  while (true) {
    int before = completed_;
    grpc::Status status = WorkOnce();
    if (!status.ok() || completed_ == before) return status;
  }
}

}  // namespace rsidiff::coordinator
