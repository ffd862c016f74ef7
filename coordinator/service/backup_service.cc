#include "coordinator/service/backup_service.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "common/telemetry/log.h"
#include "coordinator/service/pool_call.h"
#include "coordinator/state/backup.h"

namespace rsidiff::coordinator {

grpc::ServerUnaryReactor* BackupServiceAdapter::Create(grpc::CallbackServerContext* context,
                                                       const v1::CreateBackupRequest* request,
                                                       v1::CreateBackupResponse* response) {
  const UnaryCall call("CreateBackup", context, parts_.metrics);
  return AnswerInPool(*parts_.io, call, [this, request, response]() -> absl::Status {
    if (writing_.exchange(true)) return absl::FailedPreconditionError("another backup is being written");
    absl::StatusOr<v1::CreateBackupResponse> written = Write(request->name());
    writing_ = false;
    RSIDIFF_ASSIGN_OR_RETURN(*response, std::move(written));
    return absl::OkStatus();
  });
}

absl::StatusOr<v1::CreateBackupResponse> BackupServiceAdapter::Write(const std::string& name) {
  absl::Time now = absl::Now();
  std::string chosen = name.empty() ? absl::FormatTime("%Y%m%dT%H%M%E3SZ", now, absl::UTCTimeZone()) : name;
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
