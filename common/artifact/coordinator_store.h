#pragma once

#include <grpcpp/channel.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "common/artifact/directory_store.h"
#include "common/artifact/store.h"
#include "rsidiff/v1/artifact.grpc.pb.h"

namespace rsidiff {

struct CoordinatorStoreOptions {
  /// Keeps every artifact that is put or fetched.
  std::filesystem::path cache;
  /// How long a call is tried again while the coordinator cannot be reached.
  absl::Duration retry_for = absl::Minutes(10);
  /// Longest time for moving one artifact.
  absl::Duration transfer_deadline = absl::Minutes(30);
  /// Once it is notified calls end with CANCELLED: looked at before each attempt, between the pieces of a
  /// transfer, and while waiting for the coordinator.
  std::shared_ptr<const absl::Notification> stop = std::make_shared<absl::Notification>();
};

/// Artifacts in the coordinator's store, streamed over ArtifactService, with a cache folder. What
/// arrives is checked against its digest, so a broken or dishonest transfer is DATA_LOSS and never an
/// artifact; a damaged cache file is fetched again (LocalPath looks at a file once a process). While the
/// coordinator cannot be reached calls wait and try again, then fail with UNAVAILABLE; a coordinator that has
/// no room is RESOURCE_EXHAUSTED at once.
class CoordinatorStore : public ArtifactStore {
 public:
  static absl::StatusOr<std::unique_ptr<CoordinatorStore>> Open(std::shared_ptr<grpc::Channel> channel,
                                                                CoordinatorStoreOptions options);

  absl::StatusOr<std::string> Put(absl::string_view bytes) override;
  absl::StatusOr<std::string> PutFile(const std::filesystem::path& file) override;
  absl::StatusOr<std::string> Get(absl::string_view digest) override;
  absl::StatusOr<std::filesystem::path> LocalPath(absl::string_view digest) override;
  absl::StatusOr<bool> Contains(absl::string_view digest) override;

 private:
  CoordinatorStore(std::shared_ptr<grpc::Channel> channel, std::unique_ptr<DirectoryStore> cache,
                   CoordinatorStoreOptions options);

  // True if the cached file was read once by this process and has the digest.
  bool FoundSound(const std::string& digest);
  absl::Status Upload(const std::string& digest);
  absl::Status UploadOnce(const std::string& digest, const std::filesystem::path& file);
  absl::Status Download(const std::string& digest);
  absl::Status DownloadOnce(const std::string& digest);
  // Runs `call` until it does anything but fail with UNAVAILABLE, or retry_for has passed, or the stop.
  absl::Status WithRetries(const std::function<absl::Status()>& call) const;

  const CoordinatorStoreOptions options_;
  const std::unique_ptr<v1::ArtifactService::Stub> stub_;
  const std::unique_ptr<DirectoryStore> cache_;
  absl::Mutex mutex_;
  std::set<std::string> sound_ ABSL_GUARDED_BY(mutex_);  // digests of files that LocalPath may give out
};

}  // namespace rsidiff
