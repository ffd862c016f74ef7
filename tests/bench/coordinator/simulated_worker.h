#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "rsidiff/v1/coordinator.grpc.pb.h"
#include "tests/bench/coordinator/load_figures.h"
#include "tests/bench/coordinator/timers.h"
#include "tests/unit/coordinator/fake_requests.h"

namespace rsidiff::coordinator {

struct SimulatedWorkerOptions {
  std::string name;
  uint64_t seed = 0;
  uint32_t batch = 1;        // tasks of a lease call
  absl::Duration task_time;  // mean time that it works on a task; it varies by half
};

/// A worker without an engine that blocks no thread: registers, heartbeats as often as a real one, asks for
/// work by long polls, and completes what it got task by task. Any number of them share the threads of gRPC
/// and of Timers. After an error it goes on; the figures count it.
class SimulatedWorker {
 public:
  /// Timers and figures outlive it, and it outlives the timers' thread and its calls.
  SimulatedWorker(const std::shared_ptr<grpc::Channel>& channel, SimulatedWorkerOptions options,
                  Timers* timers, LoadFigures* figures);

  void Start() { Register(); }

  /// Makes no more calls and cancels those under way.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

  /// Calls under way.
  int calls() const { return calls_; }

 private:
  template <class Request, class Response>
  using Method = void (v1::WorkerService::StubInterface::async_interface::*)(
      grpc::ClientContext*, const Request*, Response*, std::function<void(grpc::Status)>);
  /// Calls `done` with the answer, unless the worker is stopped. An error is counted, and `again` called
  /// after a while.
  template <class Request, class Response>
  void Call(const char* name, Method<Request, Response> method, Request request,
            std::function<void(const Response&, absl::Duration)> done, void (SimulatedWorker::*again)())
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Register();
  void Heartbeat() ABSL_LOCKS_EXCLUDED(mutex_);
  void Lease();
  void WorkOn() ABSL_LOCKS_EXCLUDED(mutex_);
  void Complete() ABSL_LOCKS_EXCLUDED(mutex_);
  void After(absl::Duration delay, void (SimulatedWorker::*action)());
  double Random(double low, double high) ABSL_LOCKS_EXCLUDED(mutex_);

  const std::unique_ptr<v1::WorkerService::Stub> stub_;
  const SimulatedWorkerOptions options_;
  Timers& timers_;
  LoadFigures& figures_;
  WorkerIdentity identity_;  // set by the registration, before any other call
  absl::Duration heartbeat_interval_;
  std::atomic<int> calls_{0};

  absl::Mutex mutex_;
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<v1::Grant> held_ ABSL_GUARDED_BY(mutex_);
  bool completing_ ABSL_GUARDED_BY(mutex_) = false;  // the first one held
  std::set<grpc::ClientContext*> contexts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rsidiff::coordinator
