#pragma once

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"
#include "common/artifact/directory_store.h"
#include "coordinator/service/io_pool.h"
#include "coordinator/service/service_metrics.h"
#include "rsidiff/v1/artifact.grpc.pb.h"

namespace rsidiff::coordinator {

/// Streams artifacts between the store and callers that do not see its folder. All file work is done
/// by the pool. See proto/rsidiff/v1/artifact.proto.
class ArtifactServiceAdapter final : public v1::ArtifactService::CallbackService {
 public:
  struct Parts {
    DirectoryStore* store;
    IoPool* io;
    ServiceMetrics* metrics;
    /// From PrepareProbe.
    std::string probe_content;
  };
  /// The parts outlive the adapter.
  explicit ArtifactServiceAdapter(Parts parts) : parts_(std::move(parts)) {}

  grpc::ServerReadReactor<v1::PutArtifactRequest>* Put(grpc::CallbackServerContext*,
                                                       v1::PutArtifactResponse*) override;
  grpc::ServerWriteReactor<v1::GetArtifactResponse>* Get(grpc::CallbackServerContext*,
                                                         const v1::GetArtifactRequest*) override;
  grpc::ServerUnaryReactor* Stat(grpc::CallbackServerContext*, const v1::StatArtifactsRequest*,
                                 v1::StatArtifactsResponse*) override;
  grpc::ServerUnaryReactor* Locate(grpc::CallbackServerContext*, const v1::LocateStoreRequest*,
                                   v1::LocateStoreResponse*) override;

 private:
  const Parts parts_;
};

/// Content of the store folder's probe file, which is made if there is none. It stands for the folder,
/// not for the coordinator: two coordinators of one folder have one probe.
absl::StatusOr<std::string> PrepareProbe(const std::filesystem::path& folder);

}  // namespace rsidiff::coordinator
