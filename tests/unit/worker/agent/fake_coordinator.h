#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "rsidiff/v1/coordinator.grpc.pb.h"

namespace grpc {
class Server;
}

namespace rsidiff::worker {

/// What WorkerService promises, without a database: grants from a list, tokens, incarnations, and
/// faults on order. Serves on a free port of 127.0.0.1. Thread-safe.
class FakeCoordinator : public v1::WorkerService::Service, public v1::ControlService::Service {
 public:
  FakeCoordinator();
  ~FakeCoordinator() override;

  std::string address() const;

  /// Stops serving, as a killed process would; state stays.
  void Kill();
  /// Serves again on the same port.
  void Restart();

  /// Queues a task of this kind; returns its token.
  uint64_t AddTask(v1::TaskKind kind, const v1::TaskPayload& payload = {});

  /// The next `count` calls of this method are carried out, then answered with `code`.
  void LoseReplies(const std::string& method, int count, grpc::StatusCode code);
  /// The next `count` calls of this method are refused with `code` and have no effect.
  void Refuse(const std::string& method, int count, grpc::StatusCode code);

  /// The next `count` results do not pass the coordinator's check: INVALID_ARGUMENT, and their leases end.
  void FailResults(int count);

  void SetDraining(bool draining);
  /// Heartbeats answer that this lease is not valid any more.
  void Drop(uint64_t token);
  void SetRegroup(uint64_t token, bool regroup);
  /// JoinTraining answers with this generation; 0: it waits in vain.
  void SetGeneration(uint64_t generation);
  /// The coordinator does not know any worker any more.
  void ForgetWorkers();
  void SetTtl(uint32_t ms);

  struct View {
    std::vector<v1::CompleteRequest> completions;  // carried out, in order
    std::vector<v1::RegisterRequest> registrations;
    std::vector<v1::HeldLease> last_held;
    uint64_t incarnation = 0;
    int heartbeats = 0;
    int lease_calls = 0;
    int leases_answered = 0;
    int drain_calls = 0;
    int complete_calls = 0;
    std::set<std::string> lease_ids;
  };
  View view() const;

  /// Blocks until `predicate` holds of the view; false after 10 s.
  bool Await(std::function<bool(const View&)> predicate);

  grpc::Status Register(grpc::ServerContext*, const v1::RegisterRequest*, v1::RegisterResponse*) override;
  grpc::Status Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest*, v1::HeartbeatResponse*) override;
  grpc::Status Lease(grpc::ServerContext*, const v1::LeaseRequest*, v1::LeaseResponse*) override;
  grpc::Status Complete(grpc::ServerContext*, const v1::CompleteRequest*, v1::CompleteResponse*) override;
  grpc::Status JoinTraining(grpc::ServerContext*, const v1::JoinTrainingRequest*,
                            v1::JoinTrainingResponse*) override;
  grpc::Status CommitCheckpoint(grpc::ServerContext*, const v1::CommitCheckpointRequest*,
                                v1::CommitCheckpointResponse*) override;
  grpc::Status DrainWorker(grpc::ServerContext*, const v1::DrainWorkerRequest*,
                           v1::DrainWorkerResponse*) override;

 private:
  struct Fault {
    int lost_replies = 0;
    int refusals = 0;
    grpc::StatusCode code = grpc::StatusCode::OK;
  };

  bool Refused(const std::string& method, grpc::Status* status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  grpc::Status Answer(const std::string& method) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Serve();

  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;

  mutable absl::Mutex mutex_;
  View view_ ABSL_GUARDED_BY(mutex_);
  bool serving_ ABSL_GUARDED_BY(mutex_) = false;
  bool known_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  uint32_t ttl_ms_ ABSL_GUARDED_BY(mutex_) = 600;
  uint64_t next_token_ ABSL_GUARDED_BY(mutex_) = 1;
  uint64_t generation_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<v1::Grant> pending_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, v1::Grant> granted_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, v1::LeaseResponse> answered_ ABSL_GUARDED_BY(mutex_);  // by request id
  std::set<std::string> completed_ids_ ABSL_GUARDED_BY(mutex_);
  int unsound_results_ ABSL_GUARDED_BY(mutex_) = 0;
  std::set<uint64_t> dropped_ ABSL_GUARDED_BY(mutex_);
  std::set<uint64_t> regroup_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Fault> faults_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rsidiff::worker
