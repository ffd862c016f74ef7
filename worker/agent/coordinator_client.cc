#include "worker/agent/coordinator_client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>

#include "common/base/protocol.h"
#include "common/base/status_macros.h"
#include "common/rpc/status.h"

namespace rsidiff::worker {
std::shared_ptr<grpc::Channel> OpenChannel(const std::string& coordinator) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // gRPC's own reconnection delay grows to two minutes, far beyond a lease's life.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  // The default, 4 MiB, would refuse the grant of a large task each time that it is asked for.
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  return grpc::CreateCustomChannel(coordinator, grpc::InsecureChannelCredentials(), arguments);
}

bool IsTransient(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsResourceExhausted(status);
}

// One call in flight, known to the client so that CancelAll reaches it.
class CoordinatorClient::Call {
 public:
  Call(CoordinatorClient& client, absl::Duration timeout) : client_(client) {
    context_.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMicroseconds(timeout));
    absl::MutexLock lock(&client_.mutex_);
    if (client_.cancelled_) context_.TryCancel();
    client_.in_flight_.insert(&context_);
  }
  ~Call() {
    absl::MutexLock lock(&client_.mutex_);
    client_.in_flight_.erase(&context_);
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  grpc::ClientContext* context() { return &context_; }

 private:
  CoordinatorClient& client_;
  grpc::ClientContext context_;
};

CoordinatorClient::CoordinatorClient(const std::shared_ptr<grpc::Channel>& channel)
    : channel_(channel),
      worker_service_(v1::WorkerService::NewStub(channel)),
      control_service_(v1::ControlService::NewStub(channel)) {}

template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> CoordinatorClient::Invoke(Stub& stub,
                                                   grpc::Status (Stub::*method)(grpc::ClientContext*,
                                                                                const Request&, Response*),
                                                   const Request& request, absl::Duration timeout) {
  Call call(*this, timeout);
  Response response;
  RSIDIFF_RETURN_IF_ERROR(FromGrpc((stub.*method)(call.context(), request, &response)));
  return response;
}

bool CoordinatorClient::AwaitConnection(absl::Duration limit) {
  return channel_->WaitForConnected(std::chrono::system_clock::now() + absl::ToChronoMicroseconds(limit));
}

absl::StatusOr<v1::RegisterResponse> CoordinatorClient::Register(const v1::RegisterRequest& request,
                                                                 absl::Duration timeout) {
  return Invoke(*worker_service_, &v1::WorkerService::Stub::Register, request, timeout);
}

absl::StatusOr<v1::HeartbeatResponse> CoordinatorClient::Heartbeat(const v1::HeartbeatRequest& request,
                                                                   absl::Duration timeout) {
  return Invoke(*worker_service_, &v1::WorkerService::Stub::Heartbeat, request, timeout);
}

absl::StatusOr<v1::LeaseResponse> CoordinatorClient::Lease(const v1::LeaseRequest& request,
                                                           absl::Duration timeout) {
  return Invoke(*worker_service_, &v1::WorkerService::Stub::Lease, request, timeout);
}

absl::Status CoordinatorClient::Complete(const v1::CompleteRequest& request, absl::Duration timeout) {
  return Invoke(*worker_service_, &v1::WorkerService::Stub::Complete, request, timeout).status();
}

absl::StatusOr<v1::JoinTrainingResponse> CoordinatorClient::JoinTraining(
    const v1::JoinTrainingRequest& request, absl::Duration timeout) {
  return Invoke(*worker_service_, &v1::WorkerService::Stub::JoinTraining, request, timeout);
}

absl::Status CoordinatorClient::CommitCheckpoint(const v1::CommitCheckpointRequest& request,
                                                 absl::Duration timeout) {
  return Invoke(*worker_service_, &v1::WorkerService::Stub::CommitCheckpoint, request, timeout).status();
}

absl::Status CoordinatorClient::DrainWorker(const v1::DrainWorkerRequest& request, absl::Duration timeout) {
  return Invoke(*control_service_, &v1::ControlService::Stub::DrainWorker, request, timeout).status();
}

absl::StatusOr<v1::GetInfoResponse> CoordinatorClient::GetInfo(absl::Duration timeout) {
  return Invoke(*control_service_, &v1::ControlService::Stub::GetInfo, v1::GetInfoRequest(), timeout);
}

void CoordinatorClient::CancelAll() {
  absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  for (grpc::ClientContext* context : in_flight_) context->TryCancel();
}

}  // namespace rsidiff::worker
