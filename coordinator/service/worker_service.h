#pragma once

#include "coordinator/service/core_loop.h"
#include "coordinator/service/service_metrics.h"
#include "rsidiff/v1/coordinator.grpc.pb.h"

namespace rsidiff::coordinator {

/// Hands the worker-facing calls to the core. See proto/rsidiff/v1/coordinator.proto.
class WorkerServiceAdapter final : public v1::WorkerService::CallbackService {
 public:
  /// Both outlive the adapter.
  WorkerServiceAdapter(CoreLoop* loop, ServiceMetrics* metrics) : loop_(*loop), metrics_(*metrics) {}

  grpc::ServerUnaryReactor* Register(grpc::CallbackServerContext*, const v1::RegisterRequest*,
                                     v1::RegisterResponse*) override;
  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext*, const v1::HeartbeatRequest*,
                                      v1::HeartbeatResponse*) override;
  grpc::ServerUnaryReactor* Lease(grpc::CallbackServerContext*, const v1::LeaseRequest*,
                                  v1::LeaseResponse*) override;
  grpc::ServerUnaryReactor* Complete(grpc::CallbackServerContext*, const v1::CompleteRequest*,
                                     v1::CompleteResponse*) override;
  grpc::ServerUnaryReactor* JoinTraining(grpc::CallbackServerContext*, const v1::JoinTrainingRequest*,
                                         v1::JoinTrainingResponse*) override;
  grpc::ServerUnaryReactor* CommitCheckpoint(grpc::CallbackServerContext*, const v1::CommitCheckpointRequest*,
                                             v1::CommitCheckpointResponse*) override;

 private:
  CoreLoop& loop_;
  ServiceMetrics& metrics_;
};

}  // namespace rsidiff::coordinator
