#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/artifact/coordinator_store.h"
#include "common/artifact/store.h"

namespace rsidiff {

struct OpenedStore {
  std::unique_ptr<ArtifactStore> store;
  std::string way;  // "in the folder PATH", or "streamed through the coordinator: " and why
};

/// The coordinator's artifacts, in the cheapest way: its folder itself where this process sees the same
/// folder and may write there, else streamed through the coordinator with `options.cache`. Tells the
/// two apart by a probe file (artifact.proto, Locate). Waits for the coordinator as
/// CoordinatorStoreOptions::retry_for says.
absl::StatusOr<OpenedStore> OpenStore(std::shared_ptr<grpc::Channel> channel,
                                      CoordinatorStoreOptions options);

}  // namespace rsidiff
