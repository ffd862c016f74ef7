// Takes a coordinator (core, commit thread, RocksDB, artifact folder; no network) through two rounds of a run
// of many samples that keeps every one of them, the second with replay, with results made up. Prints how long
// selection and weights took, and how long a worker of another run waited for its leases meanwhile. Exits
// with 1 if a goal is missed.
//
//   select_steps [SAMPLES]        of a round, default 1000000
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/artifact/directory_store.h"
#include "common/base/digest.h"
#include "coordinator/schedule/round_plan.h"
#include "coordinator/schedule/task_graph.h"
#include "coordinator/service/core_loop.h"
#include "coordinator/state/database.h"
#include "tests/bench/select/lease_prober.h"
#include "tests/unit/coordinator/fake_requests.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

constexpr absl::Duration kGoal = absl::Seconds(10);            // selection and weights of a round
constexpr absl::Duration kLeaseGoal = absl::Milliseconds(50);  // p99 of every stage
constexpr absl::Duration kCallTimeout = absl::Minutes(10);
constexpr absl::Duration kAfterTraining = absl::Seconds(3);
constexpr uint32_t kPerPrompt = 4;
constexpr uint32_t kChunk = 1000;
// Of the made-up results three quarters are effective without it, so the search for the flattening power
// runs.
constexpr double kEssFloor = 0.9;
constexpr char kLabel[] = "worker";
constexpr char kEnvironment[] =
    "AMD EPYC 7763 64-Core Processor, AVX2; torch 2.11.0; 2 threads; rsidiff 0.1.0, libpng 1.6.39, zlib "
    "1.2.13";

template <class T>
T Must(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::exit(1);
}

/// A worker that talks to the loop as the gRPC adapter does.
class Worker {
 public:
  explicit Worker(CoreLoop& loop) : loop_(loop) {
    v1::RegisterRequest hello = MakeRegister("worker");
    hello.mutable_capabilities()->add_labels(kLabel);
    identity_ = {hello.name(), Call<v1::RegisterResponse>(hello).incarnation()};
  }

  template <class T>
  T Call(Request request) {
    return std::get<T>(Must(loop_.CallAndWait(std::move(request), kCallTimeout)));
  }

  /// The next task, once there is one.
  v1::Grant Lease() {
    while (true) {
      const auto leased = Call<v1::LeaseResponse>(MakeLease(identity_, 1, 20'000));
      if (!leased.grants().empty()) return leased.grants(0);
    }
  }

  v1::CompleteRequest Result(const v1::Grant& grant) const {
    v1::CompleteRequest done = MakeCompletion(identity_, grant);
    if (done.result().has_generate())
      done.mutable_result()->mutable_generate()->set_environment(kEnvironment);
    return done;
  }

  void Complete(v1::CompleteRequest done) { Call<v1::CompleteResponse>(std::move(done)); }

  void Train(const v1::Grant& grant) {
    Call<v1::JoinTrainingResponse>(MakeJoin(identity_, grant, 20'000));
    Complete(Result(grant));
  }

 private:
  CoreLoop& loop_;
  WorkerIdentity identity_;
};

v1::SubmitRunRequest BigRun(uint32_t samples) {
  v1::SubmitRunRequest request = SmallRun("big-run", 2);
  v1::RunSpec& spec = *request.mutable_spec();
  spec.mutable_prompts()->set_per_round(0);
  spec.mutable_sampling()->set_samples_per_prompt(kPerPrompt);
  spec.mutable_sampling()->set_chunk(kChunk);
  spec.mutable_selection()->set_keep(kPerPrompt);
  spec.mutable_weights()->set_ess_floor(kEssFloor);
  spec.mutable_workers()->add_generate_on(kLabel);
  request.mutable_inputs()->clear_train_prompts();
  for (uint32_t i = 0; i < samples / kPerPrompt; ++i) {
    request.mutable_inputs()->add_train_prompts(absl::StrCat("prompt number ", i));
  }
  return request;
}

/// Evaluates many pictures in small tasks: there is always one to lease.
v1::SubmitRunRequest OtherRun() {
  v1::SubmitRunRequest request = SmallRun("other-run", 0);
  request.mutable_spec()->mutable_evaluation()->set_samples_per_prompt(1000);
  request.mutable_spec()->mutable_workers()->add_generate_on(LeaseProber::kLabel);
  return request;
}

/// Prints a line for every stage, and remembers what the goals are about.
class Report {
 public:
  explicit Report(LeaseProber& prober) : prober_(prober) {
    std::printf("%-24s %8s %8s %8s %10s %10s %10s\n", "stage", "s", "CPU s", "leases", "p50 ms", "p99 ms",
                "max ms");
  }

  /// Leases count from now on.
  void Begin() {
    prober_.TakeWaits();
    begun_ = std::clock();
  }

  /// The stage has ended, and the next one begun.
  void Add(const std::string& stage, absl::Duration took) {
    std::vector<absl::Duration> waits = prober_.TakeWaits();
    std::sort(waits.begin(), waits.end());
    auto at = [&waits](double share) {
      return waits.empty() ? absl::ZeroDuration()
                           : waits[static_cast<size_t>(share * static_cast<double>(waits.size() - 1))];
    };
    worst_p99_ = std::max(worst_p99_, at(0.99));
    const std::clock_t now = std::clock();
    const double cpu = static_cast<double>(now - std::exchange(begun_, now)) / CLOCKS_PER_SEC;
    std::printf("%-24s %8.2f %8.2f %8zu %10.2f %10.2f %10.2f\n", stage.c_str(), absl::ToDoubleSeconds(took),
                cpu, waits.size(), absl::ToDoubleMilliseconds(at(0.5)), absl::ToDoubleMilliseconds(at(0.99)),
                absl::ToDoubleMilliseconds(at(1)));
    std::fflush(stdout);
  }

  absl::Duration worst_p99() const { return worst_p99_; }

 private:
  LeaseProber& prober_;
  std::clock_t begun_ = 0;  // CPU time of the whole process
  absl::Duration worst_p99_;
};

bool Judge(const std::string& what, absl::Duration measured, absl::Duration goal) {
  const bool met = measured < goal;
  std::printf("%s: %s of %s: %s\n", what.c_str(), absl::FormatDuration(measured).c_str(),
              absl::FormatDuration(goal).c_str(), met ? "met" : "MISSED");
  return met;
}

/// Works on the run until a task of `kind` is leased for the `count`th time; that one.
v1::Grant WorkUntil(Worker& worker, v1::TaskKind kind, uint32_t count = 1) {
  while (true) {
    const v1::Grant grant = worker.Lease();
    const bool wanted = grant.task().kind() == kind && grant.task().purpose() == v1::PURPOSE_TRAINING;
    if (wanted && --count == 0) return grant;
    worker.Complete(worker.Result(grant));
  }
}

/// Completes the task, and works until there is one of `next`; that one, and how long it took.
std::pair<v1::Grant, absl::Duration> CompleteAndAwait(Worker& worker, const v1::Grant& grant,
                                                      v1::TaskKind next) {
  v1::CompleteRequest done = worker.Result(grant);
  const absl::Time begin = absl::Now();
  worker.Complete(std::move(done));
  v1::Grant granted = WorkUntil(worker, next);
  return {std::move(granted), absl::Now() - begin};
}

/// From the last task before the round's selection to a while after its training; how long selection, the
/// taking of the distances and the weights took.
absl::Duration WeighRound(Worker& worker, Report& report, uint32_t number, uint32_t samples) {
  const std::string round = absl::StrCat("round ", number, " ");
  v1::Grant grant = number == 1 ? WorkUntil(worker, v1::TASK_KIND_FIT_REFERENCE)
                                : WorkUntil(worker, v1::TASK_KIND_SCORE, ChunkCount(samples, kChunk));
  report.Begin();
  absl::Duration selection, distances, weights;
  std::tie(grant, selection) = CompleteAndAwait(worker, grant, v1::TASK_KIND_WEIGHT);
  report.Add(round + "selection", selection);
  for (uint32_t blocks = ChunkCount(samples, kWeightBlock); blocks > 1; --blocks) {
    absl::Duration took;
    std::tie(grant, took) = CompleteAndAwait(worker, grant, v1::TASK_KIND_WEIGHT);
    distances += took;
  }
  report.Add(round + "distances", distances);
  std::tie(grant, weights) = CompleteAndAwait(worker, grant, v1::TASK_KIND_TRAIN);
  report.Add(round + "weights", weights);
  worker.Train(grant);
  absl::SleepFor(kAfterTraining);
  report.Add(round + "after training", kAfterTraining);
  return selection + distances + weights;
}

/// Exits if the round was not what is to be measured.
void CheckRound(const v1::RoundRecord& round, uint32_t samples) {
  const v1::SelectionSummary& selection = round.selection();
  const double effective = selection.effective_sample_size() / samples;
  if (selection.selected() == samples && effective >= kEssFloor && effective < kEssFloor + 1e-6) return;
  std::fprintf(stderr, "round %u weighed %u of %u samples, %.3f of them effective\n", round.round(),
               selection.selected(), samples, effective);
  std::exit(1);
}

/// True if the goals are met.
bool Run(uint32_t samples, const std::filesystem::path& folder) {
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
  Worker worker(*loop);
  v1::GetRunRequest get;
  get.set_run_id(worker.Call<v1::SubmitRunResponse>(BigRun(samples)).run_id());
  worker.Call<v1::SubmitRunResponse>(OtherRun());

  LeaseProber prober(*loop);
  Report report(prober);
  absl::Duration slowest;
  for (const uint32_t number : {1, 2}) {
    slowest = std::max(slowest, WeighRound(worker, report, number, samples));
    CheckRound(worker.Call<v1::RunStatus>(get).rounds(static_cast<int>(number)), samples);
  }
  const bool fast = Judge("selection and weights", slowest, kGoal);
  return Judge("p99 of the leases", report.worst_p99(), kLeaseGoal) && fast;
}

}  // namespace
}  // namespace rsidiff::coordinator

int main(int argc, char** argv) {
  namespace fs = std::filesystem;
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);  // as the coordinator
  const fs::path folder = fs::temp_directory_path() / ("select_steps-" + rsidiff::RandomId());
  const int samples = argc > 1 ? std::atoi(argv[1]) : 1'000'000;
  const bool met = rsidiff::coordinator::Run(static_cast<uint32_t>(samples), folder);
  fs::remove_all(folder);
  return met ? 0 : 1;
}
