#pragma once

#include <grpcpp/server.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/artifact/directory_store.h"
#include "common/telemetry/http_server.h"
#include "common/telemetry/metrics_page.h"
#include "coordinator/service/artifact_service.h"
#include "coordinator/service/backup_service.h"
#include "coordinator/service/control_service.h"
#include "coordinator/service/core_loop.h"
#include "coordinator/service/io_pool.h"
#include "coordinator/service/service_metrics.h"
#include "coordinator/service/state_metrics.h"
#include "coordinator/service/worker_service.h"
#include "coordinator/state/database.h"

namespace rsidiff::coordinator {

struct CoordinatorOptions {
  std::filesystem::path data;                // folder of the database
  std::filesystem::path artifacts;           // empty: `data`/artifacts
  std::filesystem::path backups;             // empty: `data`/backups
  std::string cluster_id;                    // empty: any; a new database gets it
  std::string grpc_address = "127.0.0.1:0";  // HOST:PORT; port 0 takes a free one
  std::string http_address = "127.0.0.1:0";
  absl::Duration lease_ttl = absl::Seconds(15);
};

/// The coordinator's process without its command line: database, core loop, gRPC server and HTTP server.
/// Writes `data`/coordinator.json, {"grpc": HOST:PORT, "http": HOST:PORT, "pid": N}, once it serves.
class Coordinator {
 public:
  /// Opens the database, checks what it holds, recovers and serves. FAILED_PRECONDITION: another
  /// coordinator holds the folder, it is another cluster's, its schema is newer, or a restore into it was
  /// not finished. DATA_LOSS names the rows that break a rule. UNAVAILABLE names the address that is in use.
  /// RESOURCE_EXHAUSTED: the disk is full.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Start(CoordinatorOptions options);
  ~Coordinator();  // stops

  /// HOST:PORT that are really bound.
  const std::string& grpc_address() const { return grpc_address_; }
  const std::string& http_address() const { return http_->address(); }

  /// Why it has stopped serving by itself; OK while it serves.
  absl::Status failure() const ABSL_LOCKS_EXCLUDED(mutex_);

  /// Finishes the calls in flight, makes them durable and closes the ports. Further calls do nothing.
  void Stop();

 private:
  explicit Coordinator(CoordinatorOptions options);

  std::filesystem::path BackupFolder() const;
  absl::Status OpenStores();
  absl::Status StartHttp();
  absl::Status StartCore();
  absl::Status StartGrpc();
  absl::Status WriteAddresses() const;

  void OnWriteFailure(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Ready() const;
  absl::StatusOr<StateSnapshot> TakeSnapshot() const;
  HttpResponse ServiceDiscovery(const HttpRequest& request) ABSL_LOCKS_EXCLUDED(mutex_);

  const CoordinatorOptions options_;
  MetricsPage page_{"coordinator"};
  ServiceMetrics metrics_{&page_};
  std::string grpc_address_;

  // In the order of their making; each uses only those before it.
  std::unique_ptr<Database> database_;
  std::unique_ptr<DirectoryStore> artifacts_;
  std::unique_ptr<CoreLoop> loop_;
  std::unique_ptr<IoPool> io_;
  std::unique_ptr<WorkerServiceAdapter> worker_service_;
  std::unique_ptr<ControlServiceAdapter> control_service_;
  std::unique_ptr<ArtifactServiceAdapter> artifact_service_;
  std::unique_ptr<BackupServiceAdapter> backup_service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<HttpServer> http_;
  std::atomic<bool> serving_{false};  // everything above is made and not yet stopped

  mutable absl::Mutex mutex_;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  // The last workers that the core told of, for /sd while the core cannot answer.
  std::vector<v1::WorkerRecord> known_workers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rsidiff::coordinator
