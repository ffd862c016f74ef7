#pragma once

#include <memory>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "rsidiff/v1/coordinator.grpc.pb.h"

namespace rsidiff::worker {

/// A channel to the coordinator that notices a dead peer by keepalive pings within half a minute and
/// reconnects by itself.
std::shared_ptr<grpc::Channel> OpenChannel(const std::string& coordinator);

/// True for the errors after which the same call, with the same request_id, is sent again.
bool IsTransient(const absl::Status& status);

/// The usual time for a call that does not wait for something to happen.
constexpr absl::Duration kCallTimeout = absl::Seconds(10);

/// The calls of WorkerService, blocking, each with a deadline. proto/rsidiff/v1/coordinator.proto gives
/// their meaning and errors; gRPC codes become absl codes. Thread-safe.
class CoordinatorClient {
 public:
  explicit CoordinatorClient(const std::shared_ptr<grpc::Channel>& channel);

  absl::StatusOr<v1::RegisterResponse> Register(const v1::RegisterRequest& request, absl::Duration timeout);
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const v1::HeartbeatRequest& request,
                                                  absl::Duration timeout);
  absl::StatusOr<v1::LeaseResponse> Lease(const v1::LeaseRequest& request, absl::Duration timeout);
  absl::Status Complete(const v1::CompleteRequest& request, absl::Duration timeout);
  absl::StatusOr<v1::JoinTrainingResponse> JoinTraining(const v1::JoinTrainingRequest& request,
                                                        absl::Duration timeout);
  absl::Status CommitCheckpoint(const v1::CommitCheckpointRequest& request, absl::Duration timeout);

  /// ControlService.DrainWorker, for a worker that leaves on its own account.
  absl::Status DrainWorker(const v1::DrainWorkerRequest& request, absl::Duration timeout);

  /// ControlService.GetInfo.
  absl::StatusOr<v1::GetInfoResponse> GetInfo(absl::Duration timeout);

  /// Waits until the channel is connected, at most for `limit`. gRPC drives a reconnection only while
  /// somebody waits for it, every few seconds otherwise; calls that fail at once do not. True when connected.
  bool AwaitConnection(absl::Duration limit);

  /// Ends calls in flight, and later ones at once, with CANCELLED.
  void CancelAll();

 private:
  class Call;

  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Invoke(Stub& stub,
                                  grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                               Response*),
                                  const Request& request, absl::Duration timeout);

  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::WorkerService::Stub> worker_service_;
  const std::unique_ptr<v1::ControlService::Stub> control_service_;
  absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<grpc::ClientContext*> in_flight_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rsidiff::worker
