#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>

#include "absl/time/time.h"
#include "rsidiff/v1/coordinator.grpc.pb.h"

namespace rsidiff::coordinator {

/// One ListSamples call. A large round takes as long as it takes; the call is given up when nothing has
/// arrived for `longest_silence`. Blocks; not thread-safe.
class SamplePages {
 public:
  /// `context` has no deadline and outlives this object, as `stub` does.
  SamplePages(v1::ControlService::Stub& stub, grpc::ClientContext& context,
              const v1::ListSamplesRequest& request, absl::Duration longest_silence);
  SamplePages(const SamplePages&) = delete;
  SamplePages& operator=(const SamplePages&) = delete;
  ~SamplePages();

  /// Waits for the next page; none when the call has ended.
  bool Read(v1::ListSamplesResponse* page);

  /// How the call ended, once Read has returned false. DEADLINE_EXCEEDED: it was given up.
  grpc::Status Finish();

 private:
  // Waits for the one event that is under way; false when the call has ended.
  bool Await();

  grpc::ClientContext& context_;
  const absl::Duration longest_silence_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::ClientAsyncReader<v1::ListSamplesResponse>> reader_;
  bool given_up_ = false;
  bool open_ = false;
};

}  // namespace rsidiff::coordinator
