// Load for the benchmarks of the coordinator: simulated workers that do nothing for a task, over gRPC.
//
//   coordinator_load --coordinator HOST:PORT --tasks N [--workers W] [--batch B] ...
//       submits a run of N tasks, works on it, measures while there is work for everybody, and prints one
//       JSON line of figures
//   coordinator_load --coordinator HOST:PORT --first-grant
//       waits for a line on its input, then asks for work; prints the steady clock's seconds when it got some
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/digest.h"
#include "tests/bench/coordinator/load_figures.h"
#include "tests/bench/coordinator/simulated_worker.h"
#include "tests/bench/coordinator/timers.h"
#include "tests/unit/coordinator/fake_requests.h"
#include "tests/unit/coordinator/fake_results.h"
#include "tests/unit/service/own_connection.h"

namespace rsidiff::coordinator {
namespace {

using nlohmann::json;

struct LoadOptions {
  std::string address;
  uint32_t tasks = 0;
  int workers = 1;
  uint32_t batch = 1;
  int connections = 0;  // 0: one a worker
  double task_seconds = 0;
  double warmup = 0;   // seconds
  double seconds = 0;  // 0: until the tasks are nearly used up
  uint32_t stop_after = 0;
  bool first_grant = false;
};

constexpr int kControlConnection = 1'000'000;

double SteadySeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

[[noreturn]] void Die(const std::string& what) {
  std::cerr << "coordinator_load: " << what << std::endl;
  std::exit(1);
}

/// An evaluation of the base model in chunks of one: a GENERATE and a SCORE task a prompt.
void SubmitTasks(const std::string& address, uint32_t tasks) {
  v1::SubmitRunRequest request = SmallRun(RandomId(), 0);
  request.mutable_spec()->set_name("load");
  request.mutable_spec()->mutable_sampling()->set_chunk(1);
  request.mutable_inputs()->clear_evaluation_prompts();
  for (uint32_t i = 0; i < tasks / 2; ++i) {
    request.mutable_inputs()->add_evaluation_prompts(absl::StrCat("a red cube on table number ", i));
  }
  auto control = v1::ControlService::NewStub(OwnConnection(address, kControlConnection));
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  v1::SubmitRunResponse response;
  grpc::Status status = control->SubmitRun(&context, request, &response);
  if (!status.ok()) Die("submit: " + status.error_message());
}

class Fleet {
 public:
  explicit Fleet(const LoadOptions& options) {
    const int connections = options.connections > 0 ? options.connections : options.workers;
    std::vector<std::shared_ptr<grpc::Channel>> channels;
    for (int i = 0; i < connections; ++i) channels.push_back(OwnConnection(options.address, i));
    for (int i = 0; i < options.workers; ++i) {
      SimulatedWorkerOptions worker;
      worker.name = absl::StrCat("simulated-", i);
      worker.seed = static_cast<uint64_t>(i);
      worker.batch = options.batch;
      worker.task_time = absl::Seconds(options.task_seconds);
      workers_.push_back(
          std::make_unique<SimulatedWorker>(channels[i % connections], worker, &timers_, &figures_));
    }
    for (auto& worker : workers_) worker->Start();
  }

  ~Fleet() {
    for (auto& worker : workers_) worker->Stop();
    timers_.Stop();
    for (auto& worker : workers_) {
      while (worker->calls() > 0) absl::SleepFor(absl::Milliseconds(1));
    }
  }

  LoadFigures& figures() { return figures_; }

 private:
  LoadFigures figures_;
  std::vector<std::unique_ptr<SimulatedWorker>> workers_;
  Timers timers_;
};

template <class Condition>
void Await(Condition condition) {
  while (!condition()) absl::SleepFor(absl::Milliseconds(1));
}

int Load(const LoadOptions& options) {
  SubmitTasks(options.address, options.tasks);
  Fleet fleet(options);
  LoadFigures& figures = fleet.figures();
  Await([&] { return figures.registered() == options.workers; });
  if (options.stop_after > 0) {
    Await([&] { return figures.completed() >= options.stop_after; });
    std::cout << json({{"completed", figures.completed()}}).dump() << std::endl;
    return 0;
  }
  // At the end of the run some workers find nothing to do; that is not measured.
  const int64_t last = options.tasks - 4 * static_cast<int64_t>(options.workers) * options.batch;
  const int64_t first = options.seconds > 0 ? 0 : options.tasks / 20;
  if (last <= first) Die("--tasks is too small for so many workers");
  absl::SleepFor(absl::Seconds(options.warmup));
  Await([&] { return figures.completed() >= first; });
  const int64_t before = figures.completed();
  const double begun = SteadySeconds();
  figures.Measure(true);
  Await([&] {
    if (figures.completed() < last) return options.seconds > 0 && SteadySeconds() >= begun + options.seconds;
    if (options.seconds > 0) Die("--tasks was too small for so many seconds");
    return true;
  });
  figures.Measure(false);
  const double seconds = SteadySeconds() - begun;
  const int64_t done = figures.completed() - before;
  json all = figures.ToJson();
  all["workers"] = options.workers;
  all["batch"] = options.batch;
  all["tasks"] = done;
  all["seconds"] = seconds;
  all["tasks_per_second"] = static_cast<double>(done) / seconds;
  std::cout << all.dump() << std::endl;
  return 0;
}

int FirstGrant(const LoadOptions& options) {
  std::string line;
  std::getline(std::cin, line);
  auto stub = v1::WorkerService::NewStub(OwnConnection(options.address, 0));
  grpc::ClientContext registering;
  registering.set_wait_for_ready(true);
  v1::RegisterResponse registered;
  grpc::Status status = stub->Register(&registering, MakeRegister("first-grant"), &registered);
  if (!status.ok()) Die("register: " + status.error_message());
  grpc::ClientContext leasing;
  v1::LeaseResponse leased;
  status = stub->Lease(&leasing, MakeLease({"first-grant", registered.incarnation()}, 1, 10'000), &leased);
  if (!status.ok() || leased.grants().empty()) Die("no grant: " + status.error_message());
  std::cout << json({{"steady_seconds", SteadySeconds()}}).dump() << std::endl;
  return 0;
}

int Main(int argc, char** argv) {
#ifdef NDEBUG
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);  // as the coordinator
#endif
  LoadOptions options;
  CLI::App app("Simulated workers for the benchmarks of the coordinator.", "coordinator_load");
  app.add_option("--coordinator", options.address, "Its gRPC address")->required();
  app.add_option("--tasks", options.tasks, "Tasks of the run");
  app.add_option("--workers", options.workers)->capture_default_str();
  app.add_option("--batch", options.batch, "Tasks of a lease call")->capture_default_str();
  app.add_option("--connections", options.connections, "TCP connections (default: one a worker)");
  app.add_option("--task-seconds", options.task_seconds, "Mean time of a task; 0: none")
      ->capture_default_str();
  app.add_option("--warmup", options.warmup, "Seconds before the measurement");
  app.add_option("--seconds", options.seconds,
                 "Length of the measurement (default: until the tasks are nearly used up)");
  app.add_option("--stop-after", options.stop_after, "Measure nothing; end after so many tasks");
  app.add_flag("--first-grant", options.first_grant, "Time the first grant instead");
  CLI11_PARSE(app, argc, argv);
  return options.first_grant ? FirstGrant(options) : Load(options);
}

}  // namespace
}  // namespace rsidiff::coordinator

int main(int argc, char** argv) {
  return rsidiff::coordinator::Main(argc, argv);
}
