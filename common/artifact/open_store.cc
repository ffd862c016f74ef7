#include "common/artifact/open_store.h"

#include <grpcpp/client_context.h>

#include <chrono>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/artifact/directory_store.h"
#include "common/base/backoff.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/rpc/status.h"
#include "rsidiff/v1/artifact.grpc.pb.h"

namespace rsidiff {
namespace fs = std::filesystem;
namespace {

absl::StatusOr<v1::LocateStoreResponse> Locate(const std::shared_ptr<grpc::Channel>& channel,
                                               absl::Duration retry_for) {
  auto stub = v1::ArtifactService::NewStub(channel);
  absl::Time deadline = absl::Now() + retry_for;
  Backoff backoff(BackoffOptions{});
  while (true) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    v1::LocateStoreResponse response;
    absl::Status status = FromGrpc(stub->Locate(&context, {}, &response));
    if (status.ok()) return response;
    absl::Duration wait = backoff.Next();
    bool transient = absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
    if (!transient || absl::Now() + wait > deadline) {
      return Annotate(status, "cannot ask the coordinator for its artifact store");
    }
    absl::SleepFor(wait);
  }
}

// FAILED_PRECONDITION when this process does not see the coordinator's folder or may not write there.
absl::StatusOr<std::unique_ptr<DirectoryStore>> OpenShared(const v1::LocateStoreResponse& location) {
  if (location.probe_file().empty() || absl::StrContains(location.probe_file(), '/')) {
    return absl::FailedPreconditionError("it shares no folder");
  }
  const absl::StatusOr<std::string> content = ReadFile(fs::path(location.path()) / location.probe_file());
  if (!content.ok() || location.probe_content().empty() || *content != location.probe_content()) {
    return absl::FailedPreconditionError(absl::StrCat(location.path(), " is not its folder here"));
  }
  absl::StatusOr<std::unique_ptr<DirectoryStore>> store = DirectoryStore::Open(location.path());
  if (!store.ok()) return absl::FailedPreconditionError(store.status().message());
  const fs::path trial = (*store)->TemporaryPath();
  const absl::Status written = WriteFileAtomically(trial, "");
  if (!written.ok()) return absl::FailedPreconditionError(written.message());
  std::error_code ignored;
  fs::remove(trial, ignored);
  return store;
}

}  // namespace

absl::StatusOr<OpenedStore> OpenStore(std::shared_ptr<grpc::Channel> channel,
                                      CoordinatorStoreOptions options) {
  RSIDIFF_ASSIGN_OR_RETURN(v1::LocateStoreResponse location, Locate(channel, options.retry_for));
  absl::StatusOr<std::unique_ptr<DirectoryStore>> shared = OpenShared(location);
  if (shared.ok()) return OpenedStore{*std::move(shared), absl::StrCat("in the folder ", location.path())};
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<ArtifactStore> streamed,
                           CoordinatorStore::Open(std::move(channel), std::move(options)));
  return OpenedStore{std::move(streamed),
                     absl::StrCat("streamed through the coordinator: ", shared.status().message())};
}

}  // namespace rsidiff
