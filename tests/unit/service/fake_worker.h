#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "common/base/protocol.h"
#include "rsidiff/v1/coordinator.grpc.pb.h"

namespace rsidiff::coordinator {

struct FakeWorkerOptions {
  std::string name;
  std::string http_address;  // empty: serves no metrics
  uint32_t wait_ms = 0;      // of a lease call
  uint32_t protocol_version = kProtocolVersion;
};

/// Speaks the worker's protocol and answers every task with FakeResult at once. It sends no heartbeats:
/// no task takes it longer than a lease lives.
class FakeWorker {
 public:
  FakeWorker(std::shared_ptr<grpc::Channel> channel, FakeWorkerOptions options);

  /// A new incarnation.
  grpc::Status Register();

  /// Leases, computes and completes at most one task. Errors are those of the calls.
  grpc::Status WorkOnce();

  int completed() const { return completed_; }

 private:
  grpc::Status Join(const v1::Grant& grant);

  const std::unique_ptr<v1::WorkerService::Stub> stub_;
  const FakeWorkerOptions options_;
  uint64_t incarnation_ = 0;
  int completed_ = 0;
};

}  // namespace rsidiff::coordinator
