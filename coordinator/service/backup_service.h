#pragma once

#include <atomic>
#include <filesystem>

#include "absl/status/statusor.h"
#include "coordinator/service/io_pool.h"
#include "coordinator/service/service_metrics.h"
#include "coordinator/state/database.h"
#include "rsidiff/v1/backup.grpc.pb.h"

namespace rsidiff::coordinator {

/// Writes backups, one at a time, in the pool. See proto/rsidiff/v1/backup.proto.
class BackupServiceAdapter final : public v1::BackupService::CallbackService {
 public:
  struct Parts {
    const Database* database;
    IoPool* io;
    ServiceMetrics* metrics;
    std::filesystem::path backups;  // the folder that holds them
  };
  /// The parts outlive the adapter.
  explicit BackupServiceAdapter(Parts parts) : parts_(std::move(parts)) {}

  grpc::ServerUnaryReactor* Create(grpc::CallbackServerContext*, const v1::CreateBackupRequest*,
                                   v1::CreateBackupResponse*) override;

 private:
  absl::StatusOr<v1::CreateBackupResponse> Write(const std::string& name);

  const Parts parts_;
  std::atomic<bool> writing_{false};
};

}  // namespace rsidiff::coordinator
