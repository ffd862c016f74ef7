#include "tests/unit/service/fake_worker.h"

#include <grpcpp/client_context.h>

#include <chrono>
#include <utility>

#include "tests/unit/coordinator/fake_requests.h"

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
  v1::RegisterRequest request = MakeRegister(options_.name);
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
  const WorkerIdentity self{options_.name, incarnation_};
  v1::LeaseResponse leased;
  grpc::ClientContext lease_context;
  lease_context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  grpc::Status status = stub_->Lease(&lease_context, MakeLease(self, 1, options_.wait_ms), &leased);
  if (!status.ok() || leased.grants().empty()) return status;
  const v1::Grant& grant = leased.grants(0);
  if (grant.task().kind() == v1::TASK_KIND_TRAIN) {
    status = Join(grant);
    if (!status.ok()) return status;
  }
  v1::CompleteRequest complete = MakeCompletion(self, grant);
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
  v1::JoinTrainingResponse joined;
  while (!joined.formed()) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kDeadline);
    grpc::Status status =
        stub_->JoinTraining(&context, MakeJoin({options_.name, incarnation_}, grant, 10'000), &joined);
    if (!status.ok()) return status;
  }
  return grpc::Status::OK;
}

}  // namespace rsidiff::coordinator
