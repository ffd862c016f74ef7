#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <functional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "coordinator/service/io_pool.h"
#include "coordinator/service/service_metrics.h"

namespace rsidiff::coordinator {

/// One unary call that is answered from another thread. Copies stand for the same call; gRPC's request and
/// response live until Finish.
class UnaryCall {
 public:
  /// `method` and `metrics` outlive the call.
  UnaryCall(const char* method, grpc::CallbackServerContext* context, ServiceMetrics* metrics);

  grpc::ServerUnaryReactor* reactor() const { return reactor_; }

  /// Counts and ends the call: exactly once, from any thread.
  void Finish(const absl::Status& status) const;

 private:
  const char* method_;
  grpc::ServerUnaryReactor* reactor_;
  ServiceMetrics* metrics_;
  absl::Time started_;
};

/// Has `work` done in the pool, which has to finish the call then or later. A full pool finishes it with
/// Overloaded(). Returns the call's reactor.
grpc::ServerUnaryReactor* RunInPool(IoPool& io, const UnaryCall& call, std::function<void()> work);

/// Finishes the call with what `work` returns in the pool.
grpc::ServerUnaryReactor* AnswerInPool(IoPool& io, const UnaryCall& call, std::function<absl::Status()> work);

}  // namespace rsidiff::coordinator
