#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "coordinator/service/core_loop.h"
#include "coordinator/service/service_metrics.h"

namespace rsidiff::coordinator {

/// The codes of gRPC and abseil are the same numbers.
grpc::Status ToGrpc(const absl::Status& status);

/// One unary call on its way through the core loop. Finishes when the core answers, or as soon as the
/// caller cancels or its deadline passes; whichever comes first wins. The core hears of a caller that has
/// gone, also if that happened while the answer was on its way.
template <typename ResponseMessage>
class CoreCall : public grpc::ServerUnaryReactor {
 public:
  /// Hands `request` to the loop; the reactor deletes itself when the call is over.
  static grpc::ServerUnaryReactor* Start(CoreLoop& loop, ServiceMetrics& metrics, const char* method,
                                         Request request, ResponseMessage* response) {
    std::shared_ptr<CoreCall> call(new CoreCall(loop, metrics, method, response));
    call->self_ = call;
    PendingCall pending;
    pending.request = std::move(request);
    pending.done = [call](absl::StatusOr<Response> answer) { call->Answer(std::move(answer)); };
    pending.abandoned = [call] { return call->finished_.load(); };
    grpc::ServerUnaryReactor* reactor = call.get();
    // gRPC calls OnCancel only after this function has returned.
    call->id_ = loop.Call(std::move(pending));
    return reactor;
  }

 private:
  CoreCall(CoreLoop& loop, ServiceMetrics& metrics, const char* method, ResponseMessage* response)
      : loop_(loop), metrics_(metrics), method_(method), response_(response) {}

  void Answer(absl::StatusOr<Response> answer) {
    if (finished_.exchange(true)) return;
    absl::Status status = answer.status();
    if (answer.ok()) {
      if (auto* message = std::get_if<ResponseMessage>(&*answer)) {
        *response_ = std::move(*message);
      } else {
        status = absl::InternalError("the core answered with a message of another kind");
      }
    }
    Close(status);
  }

  void OnCancel() override {
    loop_.Cancel(id_);
    if (!finished_.exchange(true)) Close(absl::CancelledError("cancelled, or the deadline has passed"));
  }

  void OnDone() override { self_.reset(); }

  void Close(const absl::Status& status) {
    metrics_.CountCall(method_, status.code(), absl::Now() - started_);
    Finish(ToGrpc(status));
  }

  CoreLoop& loop_;
  ServiceMetrics& metrics_;
  const char* const method_;
  // gRPC's, valid until OnDone, which comes after the one Finish.
  ResponseMessage* const response_;
  const absl::Time started_ = absl::Now();
  uint64_t id_ = 0;  // the loop's
  std::atomic<bool> finished_{false};
  std::shared_ptr<CoreCall> self_;  // until OnDone; the loop holds another one until it answers
};

}  // namespace rsidiff::coordinator
