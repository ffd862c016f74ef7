// Takes a coordinator (core, commit thread, RocksDB, artifact folder; no network) through round 1 of a run of
// many samples, with results made up, and prints how long selection and weights took, and how long a worker
// of another run waited for its leases meanwhile.
//
//   select_steps [SAMPLES [ESS_FLOOR]]        default 1000000 0.3; 0.95 makes the weights' floor search
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/artifact/directory_store.h"
#include "common/base/digest.h"
#include "common/base/protocol.h"
#include "coordinator/service/core_loop.h"
#include "coordinator/state/database.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

constexpr absl::Duration kCallTimeout = absl::Minutes(10);
constexpr absl::Duration kAfterTraining = absl::Seconds(3);
constexpr int kPerPrompt = 4;

template <class T>
T Must(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::exit(1);
}

/// A worker that talks to the loop as the gRPC adapter does.
class Worker {
 public:
  Worker(CoreLoop& loop, std::string name) : loop_(loop), name_(std::move(name)) {
    v1::RegisterRequest hello;
    hello.set_request_id(RandomId());
    hello.set_name(name_);
    hello.set_protocol_version(kProtocolVersion);
    incarnation_ = Call<v1::RegisterResponse>(hello).incarnation();
  }

  template <class T>
  T Call(Request request) {
    return std::get<T>(Must(loop_.CallAndWait(std::move(request), kCallTimeout)));
  }

  v1::LeaseResponse Lease() {
    v1::LeaseRequest request;
    request.set_request_id(RandomId());
    request.set_worker(name_);
    request.set_incarnation(incarnation_);
    request.set_max_tasks(1);
    return Call<v1::LeaseResponse>(request);
  }

  enum class Outcome { kResult, kReturned };
  void Complete(const v1::Grant& grant, Outcome outcome) {
    v1::CompleteRequest done;
    done.set_request_id(RandomId());
    done.set_worker(name_);
    done.set_incarnation(incarnation_);
    *done.mutable_task() = grant.task();
    done.set_token(grant.token());
    if (outcome == Outcome::kResult) {
      *done.mutable_result() = FakeResult(grant.payload());
    } else {
      done.set_returned(true);
    }
    Call<v1::CompleteResponse>(done);
  }

 private:
  CoreLoop& loop_;
  const std::string name_;
  uint64_t incarnation_ = 0;
};

/// Leases and gives back tasks of the small run, without end, and notes how long each lease took.
class Prober {
 public:
  Prober(CoreLoop& loop) : worker_(loop, "prober"), thread_([this] { Run(); }) {}
  ~Prober() {
    stop_ = true;
    thread_.join();
  }

  std::vector<absl::Duration> TakeWaits() {
    absl::MutexLock lock(&mutex_);
    return std::exchange(waits_, {});
  }

 private:
  void Run() {
    while (!stop_) {
      const absl::Time begin = absl::Now();
      const v1::LeaseResponse leased = worker_.Lease();
      {
        absl::MutexLock lock(&mutex_);
        waits_.push_back(absl::Now() - begin);
      }
      for (const v1::Grant& grant : leased.grants()) worker_.Complete(grant, Worker::Outcome::kReturned);
      absl::SleepFor(absl::Milliseconds(2));
    }
  }

  Worker worker_;
  absl::Mutex mutex_;
  std::vector<absl::Duration> waits_ ABSL_GUARDED_BY(mutex_);
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

v1::SubmitRunRequest BigRun(int samples, double ess_floor) {
  v1::SubmitRunRequest request = SmallRun("big-run", 2);
  request.mutable_spec()->mutable_prompts()->set_per_round(0);
  request.mutable_spec()->mutable_sampling()->set_samples_per_prompt(kPerPrompt);
  request.mutable_spec()->mutable_sampling()->set_chunk(1000);
  request.mutable_spec()->mutable_weights()->set_ess_floor(ess_floor);
  request.mutable_inputs()->clear_train_prompts();
  for (int i = 0; i < samples / kPerPrompt; ++i) {
    request.mutable_inputs()->add_train_prompts(absl::StrCat("prompt number ", i));
  }
  return request;
}

/// Evaluates many pictures in small tasks: there is always one to lease.
v1::SubmitRunRequest OtherRun() {
  v1::SubmitRunRequest request = SmallRun("other-run", 0);
  request.mutable_spec()->mutable_evaluation()->set_samples_per_prompt(1000);
  return request;
}

void Print(const char* what, absl::Duration took, std::vector<absl::Duration> waits) {
  std::sort(waits.begin(), waits.end());
  auto at = [&waits](double share) {
    if (waits.empty()) return 0.0;
    const auto place = static_cast<size_t>(share * static_cast<double>(waits.size() - 1));
    return absl::ToDoubleMilliseconds(waits[place]);
  };
  std::printf("%-16s %8.2f %8zu %10.2f %10.2f %10.2f\n", what, absl::ToDoubleSeconds(took), waits.size(),
              at(0.5), at(0.99), at(1));
}

/// Works on the big run until a task of `kind` is leased; that one.
v1::Grant WorkUntil(Worker& worker, uint64_t run, v1::TaskKind kind) {
  while (true) {
    const v1::LeaseResponse leased = worker.Lease();
    if (leased.grants().empty()) continue;
    const v1::Grant& grant = leased.grants(0);
    const bool ours = grant.task().run_id() == run;
    if (ours && grant.task().purpose() == v1::PURPOSE_TRAINING && grant.task().kind() == kind) return grant;
    worker.Complete(grant, ours ? Worker::Outcome::kResult : Worker::Outcome::kReturned);
  }
}

void Train(Worker& worker, CoreLoop& loop, const v1::Grant& grant) {
  v1::JoinTrainingRequest join;
  join.set_request_id(RandomId());
  join.set_worker("w");
  join.set_incarnation(1);
  *join.mutable_task() = grant.task();
  join.set_token(grant.token());
  join.set_store_address("w:1000");
  join.set_wait_ms(20'000);
  Must(loop.CallAndWait(join, kCallTimeout));
  worker.Complete(grant, Worker::Outcome::kResult);
}

void Run(int samples, double ess_floor, const std::filesystem::path& folder) {
  auto database = Must(Database::Open(folder / "db"));
  auto artifacts = Must(DirectoryStore::Open(folder / "artifacts"));
  CoreLoopOptions options;
  options.now = SteadyClock();
  options.artifacts = artifacts.get();
  options.write = [&database](const std::vector<RowWrite>& rows, Durability durability) {
    return database->Write(rows, durability == Durability::kPowerLoss ? Database::Durability::kSync
                                                                      : Database::Durability::kWal);
  };
  CoreOptions core;
  core.cluster_id = "bench";
  core.lease_ttl = absl::Hours(1);
  auto recovered = Must(Core::Recover(core, {}, options.now()));
  auto loop =
      Must(CoreLoop::Start(std::move(recovered.first), std::move(recovered.second), std::move(options)));
  Worker worker(*loop, "w");
  const uint64_t run = worker.Call<v1::SubmitRunResponse>(BigRun(samples, ess_floor)).run_id();
  worker.Call<v1::SubmitRunResponse>(OtherRun());
  std::printf("%-16s %8s %8s %10s %10s %10s\n", "step", "s", "leases", "p50 ms", "p99 ms", "max ms");

  const v1::Grant reference = WorkUntil(worker, run, v1::TASK_KIND_FIT_REFERENCE);
  Prober prober(*loop);
  absl::SleepFor(absl::Seconds(1));
  Print("before", absl::Seconds(1), prober.TakeWaits());
  absl::Time begin = absl::Now();
  worker.Complete(reference, Worker::Outcome::kResult);
  v1::Grant next = WorkUntil(worker, run, v1::TASK_KIND_WEIGHT);
  Print("selection", absl::Now() - begin, prober.TakeWaits());
  while (next.task().kind() == v1::TASK_KIND_WEIGHT) {
    worker.Complete(next, Worker::Outcome::kResult);
    begin = absl::Now();
    prober.TakeWaits();
    const v1::RunStatus status = worker.Call<v1::RunStatus>([run] {
      v1::GetRunRequest request;
      request.set_run_id(run);
      return request;
    }());
    bool more = false;
    for (const v1::TaskCounts& counts : status.tasks()) {
      more |= counts.kind() == v1::TASK_KIND_WEIGHT && counts.done() < counts.total();
    }
    next = WorkUntil(worker, run, more ? v1::TASK_KIND_WEIGHT : v1::TASK_KIND_TRAIN);
  }
  Print("weights", absl::Now() - begin, prober.TakeWaits());
  Train(worker, *loop, next);
  absl::SleepFor(kAfterTraining);
  Print("after training", kAfterTraining, prober.TakeWaits());
}

}  // namespace
}  // namespace rsidiff::coordinator

int main(int argc, char** argv) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::temp_directory_path() / ("select_steps-" + rsidiff::RandomId());
  rsidiff::coordinator::Run(argc > 1 ? std::atoi(argv[1]) : 1'000'000, argc > 2 ? std::atof(argv[2]) : 0.3,
                            folder);
  fs::remove_all(folder);
}
