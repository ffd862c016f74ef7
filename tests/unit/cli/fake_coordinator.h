#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "common/artifact/directory_store.h"
#include "rsidiff/v1/artifact.grpc.pb.h"
#include "rsidiff/v1/backup.grpc.pb.h"
#include "rsidiff/v1/coordinator.grpc.pb.h"

namespace rsidiff::coordinator {

/// A coordinator that answers from what a test put into it and keeps what it was sent. Its artifacts
/// are a shared folder. Set the public fields before calls, read them after.
class FakeCoordinator : public v1::ControlService::Service {
 public:
  FakeCoordinator();
  ~FakeCoordinator() override;

  std::string address() const { return address_; }
  DirectoryStore& store() { return *store_; }

  absl::Mutex mutex;
  std::vector<v1::RunStatus> runs ABSL_GUARDED_BY(mutex);
  static constexpr uint64_t kOverloaded = UINT64_MAX;
  /// GetRun answers with these first, one a call; the id 0 stands for UNAVAILABLE, kOverloaded for
  /// RESOURCE_EXHAUSTED.
  std::deque<v1::RunStatus> script ABSL_GUARDED_BY(mutex);
  std::vector<v1::WorkerRecord> workers ABSL_GUARDED_BY(mutex);
  std::map<std::pair<uint32_t, v1::Purpose>, std::vector<v1::SampleRecord>> samples ABSL_GUARDED_BY(mutex);
  /// The tasks of GetSample's answers, keyed by (round, purpose).
  std::map<std::pair<uint32_t, v1::Purpose>, v1::Grant> tasks ABSL_GUARDED_BY(mutex);
  std::vector<v1::EventRecord> events ABSL_GUARDED_BY(mutex);
  std::string version ABSL_GUARDED_BY(mutex) = RSIDIFF_VERSION;
  std::vector<v1::SubmitRunRequest> submitted ABSL_GUARDED_BY(mutex);
  std::vector<v1::ForkRunRequest> forked ABSL_GUARDED_BY(mutex);
  std::vector<v1::DrainWorkerRequest> drained ABSL_GUARDED_BY(mutex);
  /// So many calls of SubmitRun are answered with UNAVAILABLE.
  int failing_submissions ABSL_GUARDED_BY(mutex) = 0;
  std::vector<std::string> submission_ids ABSL_GUARDED_BY(mutex);
  /// ListSamples sends nothing after its samples, not even the end, until the caller goes.
  bool samples_stall ABSL_GUARDED_BY(mutex) = false;
  /// The deadline that the newest ListSamples came with.
  std::chrono::system_clock::time_point samples_deadline ABSL_GUARDED_BY(mutex);
  /// The names asked for. So many of these calls are answered with UNAVAILABLE.
  std::vector<std::string> backups ABSL_GUARDED_BY(mutex);
  int failing_backups ABSL_GUARDED_BY(mutex) = 0;

 private:
  class Artifacts : public v1::ArtifactService::Service {
   public:
    explicit Artifacts(std::string folder) : folder_(std::move(folder)) {}
    grpc::Status Locate(grpc::ServerContext*, const v1::LocateStoreRequest*,
                        v1::LocateStoreResponse*) override;

   private:
    const std::string folder_;
  };
  class Backups : public v1::BackupService::Service {
   public:
    explicit Backups(FakeCoordinator* fake) : fake_(fake) {}
    grpc::Status Create(grpc::ServerContext*, const v1::CreateBackupRequest*,
                        v1::CreateBackupResponse*) override;

   private:
    FakeCoordinator* const fake_;
  };

  grpc::Status GetInfo(grpc::ServerContext*, const v1::GetInfoRequest*, v1::GetInfoResponse*) override;
  grpc::Status SubmitRun(grpc::ServerContext*, const v1::SubmitRunRequest*, v1::SubmitRunResponse*) override;
  grpc::Status ListRuns(grpc::ServerContext*, const v1::ListRunsRequest*, v1::ListRunsResponse*) override;
  grpc::Status GetRun(grpc::ServerContext*, const v1::GetRunRequest*, v1::RunStatus*) override;
  grpc::Status SetRunState(grpc::ServerContext*, const v1::SetRunStateRequest*, v1::RunStatus*) override;
  grpc::Status ForkRun(grpc::ServerContext*, const v1::ForkRunRequest*, v1::SubmitRunResponse*) override;
  grpc::Status ListSamples(grpc::ServerContext*, const v1::ListSamplesRequest*,
                           grpc::ServerWriter<v1::ListSamplesResponse>*) override;
  grpc::Status GetSample(grpc::ServerContext*, const v1::GetSampleRequest*, v1::GetSampleResponse*) override;
  /// Two a page.
  grpc::Status ListEvents(grpc::ServerContext*, const v1::ListEventsRequest*,
                          v1::ListEventsResponse*) override;
  grpc::Status ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*,
                           v1::ListWorkersResponse*) override;
  grpc::Status DrainWorker(grpc::ServerContext*, const v1::DrainWorkerRequest*,
                           v1::DrainWorkerResponse*) override;

  v1::RunStatus* Find(uint64_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  std::filesystem::path folder_;
  std::unique_ptr<DirectoryStore> store_;
  std::unique_ptr<Artifacts> artifacts_;
  Backups backup_service_{this};
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

}  // namespace rsidiff::coordinator
