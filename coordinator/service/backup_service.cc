#include "coordinator/service/backup_service.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "common/telemetry/log.h"
#include "coordinator/service/core_call.h"
#include "coordinator/state/backup.h"

namespace rsidiff::coordinator {

grpc::ServerUnaryReactor* BackupServiceAdapter::Create(grpc::CallbackServerContext* context,
                                                       const v1::CreateBackupRequest* request,
                                                       v1::CreateBackupResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  absl::Time started = absl::Now();
  auto finish = [this, reactor, started](const absl::Status& status) {
    parts_.metrics->CountCall("CreateBackup", status.code(), absl::Now() - started);
    reactor->Finish(ToGrpc(status));
  };
  if (writing_.exchange(true)) {
    finish(absl::FailedPreconditionError("another backup is being written"));
    return reactor;
  }
  // Request and response live until Finish.
  bool queued = parts_.io->Submit([this, request, response, finish] {
    absl::StatusOr<v1::CreateBackupResponse> written = Write(request->name());
    if (written.ok()) *response = *std::move(written);
    writing_ = false;
    finish(written.status());
  });
  if (!queued) {
    writing_ = false;
    finish(absl::ResourceExhaustedError("the coordinator is overloaded"));
  }
  return reactor;
}

absl::StatusOr<v1::CreateBackupResponse> BackupServiceAdapter::Write(const std::string& name) {
  absl::Time now = absl::Now();
  std::string chosen = name.empty() ? absl::FormatTime("%Y%m%dT%H%M%SZ", now, absl::UTCTimeZone()) : name;
  if (!IsBackupName(chosen)) {
    return absl::InvalidArgumentError(
        absl::StrCat("name has to match [A-Za-z0-9._-]{1,63} and not to begin with a dot: \"",
                     chosen.substr(0, 80), "\""));
  }
  v1::CreateBackupResponse response;
  std::filesystem::path folder = std::filesystem::absolute(parts_.backups / chosen);
  RSIDIFF_ASSIGN_OR_RETURN(*response.mutable_manifest(), WriteBackup(*parts_.database, folder, now));
  response.set_path(folder.string());
  LogInfo(absl::StrCat("wrote backup ", folder.string(), " in ", absl::FormatDuration(absl::Now() - now)));
  return response;
}

}  // namespace rsidiff::coordinator
