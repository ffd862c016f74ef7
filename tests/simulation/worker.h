#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "rsidiff/v1/coordinator.pb.h"
#include "tests/simulation/network.h"
#include "tests/simulation/world.h"

namespace rsidiff::simulation {

/// The members of one generation as they run steps together: a step needs all of them.
struct Gang {
  std::map<uint64_t, std::shared_ptr<Process>> present;  // by token
  size_t size = 0;
  uint64_t step = 0;
  bool leaving = false;  // somebody was told to regroup: all leave after the step
  bool running = false;
  absl::Time progressed;
};
using Gangs = std::map<uint64_t, Gang>;  // by generation

struct WorkerFaults {
  double error = 0;     // share of tasks that fail
  double returned = 0;  // share of tasks that are given back
};

/// The first SCORE task of a run with this seed fails wherever it is tried.
inline constexpr uint64_t kPoisonSeed = 13;
inline constexpr char kPoisonError[] = "cannot read picture";

/// A worker process, as the protocol asks of one; the work itself is FakeResult after some time.
class Worker : public std::enable_shared_from_this<Worker> {
 public:
  struct Environment {
    World& world;
    Network& network;
    Gangs& gangs;
    Invariants& invariants;
    WorkerFaults& faults;
    /// Called when the process ended by itself: fenced or drained.
    std::function<void(const std::string& name)> exited;
  };

  Worker(Environment environment, std::string name) : env_(std::move(environment)), name_(std::move(name)) {}

  void Start();
  /// The process dies; kClosed: its machine lives and closes the connections.
  enum class Connections { kClosed, kLeftOpen };
  void Kill(Connections connections = Connections::kClosed);
  void Pause(absl::Duration duration) { process_->paused_until = env_.world.now() + duration; }
  bool alive() const { return process_->alive; }
  Process& process() { return *process_; }

 private:
  struct Task {
    v1::Grant grant;
    uint64_t generation = 0;  // of the gang that it is in; 0 outside
    uint64_t last_generation = 0;
    uint64_t step = 0;
    bool has_state = false;
  };

  void Register();
  void Heartbeat();
  void Lease();
  void Begin(const v1::Grant& grant);
  void Finish(uint64_t token);
  bool Poisoned(const v1::Grant& grant) const;
  void ReturnAll();
  void Report(uint64_t token, v1::CompleteRequest request);
  void Join(uint64_t token);
  void Enter(uint64_t token, const v1::GenerationRecord& generation);
  void Watch(uint64_t token, uint64_t generation);
  static void RunStep(const Environment& env, uint64_t generation, uint64_t steps);
  void Leave(uint64_t token);
  void CommitCheckpoint(uint64_t token);
  void Drop(uint64_t token);
  /// Handles the errors that every call can meet; true if the answer was one.
  bool Refused(const absl::Status& status);
  void Exit();
  void FillHeld(google::protobuf::RepeatedPtrField<v1::HeldLease>* held) const;
  std::string RequestId();
  template <class Request>
  Request Header() const;
  void After(absl::Duration delay, std::function<void()> action);
  void Call(coordinator::Request request, absl::Duration timeout, CoordinatorHost::Callback done);

  Environment env_;
  std::string name_;
  std::shared_ptr<Process> process_ = std::make_shared<Process>();
  uint64_t incarnation_ = 0;
  bool registering_ = false;
  bool leasing_ = false;
  bool beating_ = false;
  bool draining_ = false;
  std::map<uint64_t, Task> tasks_;  // by token
};

}  // namespace rsidiff::simulation
