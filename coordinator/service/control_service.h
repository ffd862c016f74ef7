#pragma once

#include "coordinator/service/core_loop.h"
#include "coordinator/service/history.h"
#include "coordinator/service/io_pool.h"
#include "coordinator/service/service_metrics.h"
#include "rsidiff/v1/coordinator.grpc.pb.h"

namespace rsidiff::coordinator {

/// Hands the client-facing calls to the core; samples and events are read from the database beside it.
/// See proto/rsidiff/v1/coordinator.proto.
class ControlServiceAdapter final : public v1::ControlService::CallbackService {
 public:
  struct Parts {
    CoreLoop* loop;
    IoPool* io;
    ServiceMetrics* metrics;
    const Database* database;
  };
  /// The parts outlive the adapter.
  explicit ControlServiceAdapter(Parts parts) : parts_(std::move(parts)) {}

  grpc::ServerUnaryReactor* GetInfo(grpc::CallbackServerContext*, const v1::GetInfoRequest*,
                                    v1::GetInfoResponse*) override;
  grpc::ServerUnaryReactor* SubmitRun(grpc::CallbackServerContext*, const v1::SubmitRunRequest*,
                                      v1::SubmitRunResponse*) override;
  grpc::ServerUnaryReactor* ListRuns(grpc::CallbackServerContext*, const v1::ListRunsRequest*,
                                     v1::ListRunsResponse*) override;
  grpc::ServerUnaryReactor* GetRun(grpc::CallbackServerContext*, const v1::GetRunRequest*,
                                   v1::RunStatus*) override;
  grpc::ServerUnaryReactor* SetRunState(grpc::CallbackServerContext*, const v1::SetRunStateRequest*,
                                        v1::RunStatus*) override;
  grpc::ServerUnaryReactor* ForkRun(grpc::CallbackServerContext*, const v1::ForkRunRequest*,
                                    v1::SubmitRunResponse*) override;
  grpc::ServerWriteReactor<v1::ListSamplesResponse>* ListSamples(grpc::CallbackServerContext*,
                                                                 const v1::ListSamplesRequest*) override;
  grpc::ServerUnaryReactor* GetSample(grpc::CallbackServerContext*, const v1::GetSampleRequest*,
                                      v1::GetSampleResponse*) override;
  grpc::ServerUnaryReactor* ListWorkers(grpc::CallbackServerContext*, const v1::ListWorkersRequest*,
                                        v1::ListWorkersResponse*) override;
  grpc::ServerUnaryReactor* DrainWorker(grpc::CallbackServerContext*, const v1::DrainWorkerRequest*,
                                        v1::DrainWorkerResponse*) override;
  grpc::ServerUnaryReactor* ListEvents(grpc::CallbackServerContext*, const v1::ListEventsRequest*,
                                       v1::ListEventsResponse*) override;

 private:
  // Answers from the database, in the pool.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Read(const char* method, grpc::CallbackServerContext* context,
                                 const Request* request, Response* response,
                                 absl::StatusOr<Response> (*read)(const Database&, const Request&));

  const Parts parts_;
};

}  // namespace rsidiff::coordinator
