#include "coordinator/service/control_service.h"

#include <optional>

#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "coordinator/service/core_call.h"
#include "coordinator/service/pool_call.h"

namespace rsidiff::coordinator {
namespace {

// Streams a round's samples: one page is read by the pool, written, and then the next one is read.
class SampleStream final : public grpc::ServerWriteReactor<v1::ListSamplesResponse> {
 public:
  SampleStream(const ControlServiceAdapter::Parts& parts, v1::ListSamplesRequest request)
      : parts_(parts), request_(std::move(request)) {
    ReadPage();
  }

 private:
  void ReadPage() {
    if (!parts_.io->Submit([this] { WritePage(); })) Close(Overloaded());
  }

  // In the pool.
  void WritePage() {
    if (!reader_) {
      absl::StatusOr<SampleReader> reader = SampleReader::Open(parts_.database, request_);
      if (!reader.ok()) return Close(reader.status());
      reader_.emplace(*std::move(reader));
    }
    absl::StatusOr<v1::ListSamplesResponse> page = reader_->Next();
    if (!page.ok() || page->samples().empty()) return Close(page.status());
    page_ = *std::move(page);
    StartWrite(&page_);
  }

  void OnWriteDone(bool ok) override {
    if (ok) {
      ReadPage();
    } else {
      Close(absl::CancelledError("the caller has gone"));
    }
  }

  void OnDone() override { delete this; }

  void Close(const absl::Status& status) {
    parts_.metrics->CountCall("ListSamples", status.code(), absl::Now() - started_);
    Finish(ToGrpc(status));
  }

  const ControlServiceAdapter::Parts& parts_;
  const v1::ListSamplesRequest request_;
  const absl::Time started_ = absl::Now();
  std::optional<SampleReader> reader_;
  v1::ListSamplesResponse page_;
};

}  // namespace

grpc::ServerUnaryReactor* ControlServiceAdapter::GetInfo(grpc::CallbackServerContext*,
                                                         const v1::GetInfoRequest* request,
                                                         v1::GetInfoResponse* response) {
  return CoreCall<v1::GetInfoResponse>::Start(*parts_.loop, *parts_.metrics, "GetInfo", *request, response);
}

grpc::ServerUnaryReactor* ControlServiceAdapter::SubmitRun(grpc::CallbackServerContext*,
                                                           const v1::SubmitRunRequest* request,
                                                           v1::SubmitRunResponse* response) {
  return CoreCall<v1::SubmitRunResponse>::Start(*parts_.loop, *parts_.metrics, "SubmitRun", *request,
                                                response);
}

grpc::ServerUnaryReactor* ControlServiceAdapter::ListRuns(grpc::CallbackServerContext*,
                                                          const v1::ListRunsRequest* request,
                                                          v1::ListRunsResponse* response) {
  return CoreCall<v1::ListRunsResponse>::Start(*parts_.loop, *parts_.metrics, "ListRuns", *request, response);
}

grpc::ServerUnaryReactor* ControlServiceAdapter::GetRun(grpc::CallbackServerContext*,
                                                        const v1::GetRunRequest* request,
                                                        v1::RunStatus* response) {
  return CoreCall<v1::RunStatus>::Start(*parts_.loop, *parts_.metrics, "GetRun", *request, response);
}

grpc::ServerUnaryReactor* ControlServiceAdapter::SetRunState(grpc::CallbackServerContext*,
                                                             const v1::SetRunStateRequest* request,
                                                             v1::RunStatus* response) {
  return CoreCall<v1::RunStatus>::Start(*parts_.loop, *parts_.metrics, "SetRunState", *request, response);
}

grpc::ServerUnaryReactor* ControlServiceAdapter::ForkRun(grpc::CallbackServerContext* context,
                                                         const v1::ForkRunRequest* request,
                                                         v1::SubmitRunResponse* response) {
  const UnaryCall call("ForkRun", context, parts_.metrics);
  return RunInPool(*parts_.io, call, [this, call, request, response] {
    auto fork = ReadForkSource(*parts_.database, *request);
    if (!fork.ok()) return call.Finish(fork.status());
    PendingCall pending;
    pending.request = *std::move(fork);
    pending.done = [call, response](absl::StatusOr<Response> answer) {
      if (answer.ok()) *response = std::get<v1::SubmitRunResponse>(*std::move(answer));
      call.Finish(answer.status());
    };
    parts_.loop->Call(std::move(pending));
  });
}

grpc::ServerUnaryReactor* ControlServiceAdapter::ListWorkers(grpc::CallbackServerContext*,
                                                             const v1::ListWorkersRequest* request,
                                                             v1::ListWorkersResponse* response) {
  return CoreCall<v1::ListWorkersResponse>::Start(*parts_.loop, *parts_.metrics, "ListWorkers", *request,
                                                  response);
}

grpc::ServerUnaryReactor* ControlServiceAdapter::DrainWorker(grpc::CallbackServerContext*,
                                                             const v1::DrainWorkerRequest* request,
                                                             v1::DrainWorkerResponse* response) {
  return CoreCall<v1::DrainWorkerResponse>::Start(*parts_.loop, *parts_.metrics, "DrainWorker", *request,
                                                  response);
}

grpc::ServerWriteReactor<v1::ListSamplesResponse>* ControlServiceAdapter::ListSamples(
    grpc::CallbackServerContext*, const v1::ListSamplesRequest* request) {
  return new SampleStream(parts_, *request);
}

grpc::ServerUnaryReactor* ControlServiceAdapter::GetSample(grpc::CallbackServerContext* context,
                                                           const v1::GetSampleRequest* request,
                                                           v1::GetSampleResponse* response) {
  return Read("GetSample", context, request, response, coordinator::GetSample);
}

grpc::ServerUnaryReactor* ControlServiceAdapter::ListEvents(grpc::CallbackServerContext* context,
                                                            const v1::ListEventsRequest* request,
                                                            v1::ListEventsResponse* response) {
  return Read("ListEvents", context, request, response, coordinator::ListEvents);
}

template <typename Request, typename Response>
grpc::ServerUnaryReactor* ControlServiceAdapter::Read(
    const char* method, grpc::CallbackServerContext* context, const Request* request, Response* response,
    absl::StatusOr<Response> (*read)(const Database&, const Request&)) {
  const UnaryCall call(method, context, parts_.metrics);
  return AnswerInPool(*parts_.io, call, [this, request, response, read]() -> absl::Status {
    RSIDIFF_ASSIGN_OR_RETURN(*response, read(*parts_.database, *request));
    return absl::OkStatus();
  });
}

}  // namespace rsidiff::coordinator
