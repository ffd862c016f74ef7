#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/artifact/store.h"
#include "rsidiff/v1/artifact.pb.h"
#include "rsidiff/v1/backup.pb.h"
#include "rsidiff/v1/coordinator.pb.h"

namespace rsidiff::coordinator {

/// The coordinator's client-facing API (coordinator.proto, ControlService), one blocking call a method.
/// Mutating calls but CreateBackup carry a request id, so that trying them again is safe. A coordinator that
/// cannot be reached is tried again for `patience`, then the call is UNAVAILABLE with its address. One that
/// does not answer is DEADLINE_EXCEEDED, with its address too. Other errors have the coordinator's code and
/// message.
class ControlClient {
 public:
  ControlClient(std::string address, absl::Duration patience);
  ~ControlClient();

  const std::string& address() const { return address_; }

  absl::StatusOr<v1::GetInfoResponse> GetInfo();
  /// The same request_id again gives the same run.
  absl::StatusOr<uint64_t> SubmitRun(const v1::SubmitRunRequest& request);
  absl::StatusOr<v1::ListRunsResponse> ListRuns();
  absl::StatusOr<v1::RunStatus> GetRun(uint64_t run_id);
  absl::StatusOr<v1::RunStatus> SetRunState(uint64_t run_id, v1::RunState state);
  /// The id of the new run. The client makes the request_id.
  absl::StatusOr<uint64_t> ForkRun(v1::ForkRunRequest request);
  /// All samples of a round, in index order.
  absl::StatusOr<std::vector<v1::SampleRecord>> ListSamples(uint64_t run_id, uint32_t round,
                                                            v1::Purpose purpose);
  /// One sample and the task that drew it.
  absl::StatusOr<v1::GetSampleResponse> GetSample(const v1::GetSampleRequest& request);
  /// The events of a run in their order, those after the event of sequence number `after`.
  absl::StatusOr<std::vector<v1::EventRecord>> ListEvents(uint64_t run_id, uint64_t after);
  absl::StatusOr<v1::ListWorkersResponse> ListWorkers();
  absl::StatusOr<v1::WorkerRecord> DrainWorker(const std::string& name, absl::Duration deadline);

  /// A backup on the coordinator's host; an empty name stands for the time. Sent once: UNAVAILABLE when the
  /// connection breaks meanwhile.
  absl::StatusOr<v1::CreateBackupResponse> CreateBackup(const std::string& name);

  /// Finds a run by id, or the newest of a name. NOT_FOUND suggests a near name.
  absl::StatusOr<v1::RunStatus> FindRun(absl::string_view id_or_name);

  /// The coordinator's artifacts, shared or streamed.
  absl::StatusOr<std::unique_ptr<ArtifactStore>> OpenArtifacts();
  absl::StatusOr<v1::LocateStoreResponse> LocateArtifacts();

 private:
  struct Stubs;

  // `call` gets a grpc::ClientContext with the deadline of a short call, or with `deadline` from now.
  template <typename Call>
  absl::Status WithRetries(const Call& call);
  template <typename Call>
  absl::Status WithRetries(absl::Duration deadline, const Call& call);
  absl::Status Unanswered(absl::string_view message) const;

  const std::string address_;
  const absl::Duration patience_;
  const std::unique_ptr<Stubs> stubs_;
};

}  // namespace rsidiff::coordinator
