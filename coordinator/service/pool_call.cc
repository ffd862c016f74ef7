#include "coordinator/service/pool_call.h"

#include <utility>

#include "absl/time/clock.h"
#include "coordinator/service/core_call.h"

namespace rsidiff::coordinator {

UnaryCall::UnaryCall(const char* method, grpc::CallbackServerContext* context, ServiceMetrics* metrics)
    : method_(method), reactor_(context->DefaultReactor()), metrics_(metrics), started_(absl::Now()) {}

void UnaryCall::Finish(const absl::Status& status) const {
  metrics_->CountCall(method_, status.code(), absl::Now() - started_);
  reactor_->Finish(ToGrpc(status));
}

grpc::ServerUnaryReactor* RunInPool(IoPool& io, const UnaryCall& call, std::function<void()> work) {
  if (!io.Submit(std::move(work))) call.Finish(Overloaded());
  return call.reactor();
}

grpc::ServerUnaryReactor* AnswerInPool(IoPool& io, const UnaryCall& call,
                                       std::function<absl::Status()> work) {
  return RunInPool(io, call, [call, work = std::move(work)] { call.Finish(work()); });
}

}  // namespace rsidiff::coordinator
