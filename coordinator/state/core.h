#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/state/row.h"
#include "rsidiff/v1/coordinator.pb.h"

namespace rsidiff::coordinator {

/// What can be asked of the core. The alternatives are messages of proto/rsidiff/v1/coordinator.proto, which
/// documents effect and errors; ForkRun holds one. Tick lets time pass; it and Cancelled get no reply.
struct Tick {};
/// Nobody waits for the answer to call `id` any more. A poll for work that only this call waited for ends
/// without a grant; tasks that were granted to it alone and are not worked on yet go back at once.
struct Cancelled {
  uint64_t id = 0;
};
/// A fork, and what the core does not keep of a run that has ended: the parent's rows of the tables prompts,
/// judgements and samples, each in key order, a round's judgements before its samples, as of any time before
/// the call. Of a parent under way none are needed. UNAVAILABLE: the parent ended after they were read; read
/// them again.
struct ForkRun {
  v1::ForkRunRequest request;
  std::vector<Row> parent;
};
using Request = std::variant<Tick, Cancelled, v1::RegisterRequest, v1::HeartbeatRequest, v1::LeaseRequest,
                             v1::CompleteRequest, v1::JoinTrainingRequest, v1::CommitCheckpointRequest,
                             v1::GetInfoRequest, v1::SubmitRunRequest, v1::ListRunsRequest, v1::GetRunRequest,
                             v1::SetRunStateRequest, ForkRun, v1::ListWorkersRequest, v1::DrainWorkerRequest>;
using Response = std::variant<std::monostate, v1::RegisterResponse, v1::HeartbeatResponse, v1::LeaseResponse,
                              v1::CompleteResponse, v1::JoinTrainingResponse, v1::CommitCheckpointResponse,
                              v1::GetInfoResponse, v1::SubmitRunResponse, v1::ListRunsResponse, v1::RunStatus,
                              v1::ListWorkersResponse, v1::DrainWorkerResponse>;

/// One call. `id` is chosen by the caller of Step and names the call in Reply; long polls are answered
/// by a later step.
struct Event {
  uint64_t id = 0;
  Request request;
};

struct Reply {
  uint64_t id = 0;
  absl::StatusOr<Response> response;
};

/// What a step wants done: write `rows` in one batch (synced if `sync`), then send `replies`, steps in their
/// order. Artifacts may be stored beside that; only rows that `name_artifacts` wait until those of this step
/// and of the steps before it are stored. If storing or writing fails the coordinator stops: memory is ahead
/// of the disk.
struct StepResult {
  std::vector<std::string> artifacts;
  std::vector<RowWrite> rows;
  bool name_artifacts = false;
  bool sync = false;
  std::vector<Reply> replies;
};

struct CoreOptions {
  std::string version;
  std::string cluster_id;  // for a fresh database
  std::string http_address;
  absl::Duration lease_ttl = absl::Seconds(15);
  /// How long holders of leases have to come back after a restart of the coordinator.
  absl::Duration RecoveryGrace() const { return 2 * lease_ttl; }
  absl::Duration join_window = absl::Seconds(2);
  int max_lost_attempts = 10;
  int max_error_attempts = 3;
  /// How long workers that are LOST or DRAINED are still listed; then their rows are deleted.
  absl::Duration keep_gone_workers = absl::Hours(24);
  /// Samples that one step of a selection takes, and rejected prompts that one step of a filter does; leases
  /// are served between the steps. The results do not depend on it.
  size_t slice_samples = 1024;
};

/// Counters since the start, for /metrics. Gauges are derived from ListRuns and ListWorkers.
struct CoreStatistics {
  uint64_t leases_granted = 0;
  uint64_t leases_expired = 0;
  uint64_t completions = 0;
  uint64_t completions_fenced = 0;
  uint64_t task_errors = 0;
  uint64_t tasks_returned = 0;
  uint64_t generations_formed = 0;
  uint64_t checkpoints_refused = 0;
  std::map<v1::TaskKind, double> task_seconds;
  std::map<v1::TaskKind, uint64_t> tasks_done;
  std::map<v1::Purpose, uint64_t> samples_generated;
  std::map<v1::Purpose, uint64_t> samples_scored;
};

/// The coordinator's whole state and every rule about it. Deterministic: the same rows and the same
/// (now, event) sequence give the same results; no clock, randomness, I/O, lock or thread inside.
/// Not thread-safe: one thread owns it.
class Core {
 public:
  /// Rebuilds the state from a database's rows (none: a fresh one), raises the epoch and turns leases
  /// into UNKNOWN. The result's rows must be written and synced before anything is served.
  /// FAILED_PRECONDITION: the rows are of a newer schema. DATA_LOSS names the table and key of a bad row.
  static absl::StatusOr<std::pair<std::unique_ptr<Core>, StepResult>> Recover(CoreOptions options,
                                                                              std::vector<Row> rows,
                                                                              absl::Time now);
  ~Core();

  StepResult Step(absl::Time now, Event event);

  /// When the next Tick is due; InfiniteFuture when there is nothing to wait for.
  absl::Time NextTimer() const;

  /// True when the rows of the next Tick will name artifacts of the steps before it. With the Tick put off
  /// until those are stored, no answer has to wait for them.
  bool NextTickNamesArtifacts() const;

  const CoreStatistics& statistics() const;

  /// Every row that Recover would need, in key order; the tests compare it with the database.
  std::vector<Row> Dump() const;

 private:
  class Impl;
  explicit Core(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace rsidiff::coordinator
