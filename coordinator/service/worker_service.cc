#include "coordinator/service/worker_service.h"

#include "coordinator/service/core_call.h"

namespace rsidiff::coordinator {

grpc::ServerUnaryReactor* WorkerServiceAdapter::Register(grpc::CallbackServerContext*,
                                                         const v1::RegisterRequest* request,
                                                         v1::RegisterResponse* response) {
  return CoreCall<v1::RegisterResponse>::Start(loop_, metrics_, "Register", *request, response);
}

grpc::ServerUnaryReactor* WorkerServiceAdapter::Heartbeat(grpc::CallbackServerContext*,
                                                          const v1::HeartbeatRequest* request,
                                                          v1::HeartbeatResponse* response) {
  return CoreCall<v1::HeartbeatResponse>::Start(loop_, metrics_, "Heartbeat", *request, response);
}

grpc::ServerUnaryReactor* WorkerServiceAdapter::Lease(grpc::CallbackServerContext*,
                                                      const v1::LeaseRequest* request,
                                                      v1::LeaseResponse* response) {
  return CoreCall<v1::LeaseResponse>::Start(loop_, metrics_, "Lease", *request, response);
}

grpc::ServerUnaryReactor* WorkerServiceAdapter::Complete(grpc::CallbackServerContext*,
                                                         const v1::CompleteRequest* request,
                                                         v1::CompleteResponse* response) {
  return CoreCall<v1::CompleteResponse>::Start(loop_, metrics_, "Complete", *request, response);
}

grpc::ServerUnaryReactor* WorkerServiceAdapter::JoinTraining(grpc::CallbackServerContext*,
                                                             const v1::JoinTrainingRequest* request,
                                                             v1::JoinTrainingResponse* response) {
  return CoreCall<v1::JoinTrainingResponse>::Start(loop_, metrics_, "JoinTraining", *request, response);
}

grpc::ServerUnaryReactor* WorkerServiceAdapter::CommitCheckpoint(grpc::CallbackServerContext*,
                                                                 const v1::CommitCheckpointRequest* request,
                                                                 v1::CommitCheckpointResponse* response) {
  return CoreCall<v1::CommitCheckpointResponse>::Start(loop_, metrics_, "CommitCheckpoint", *request,
                                                       response);
}

}  // namespace rsidiff::coordinator
