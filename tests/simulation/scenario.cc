#include "tests/simulation/scenario.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace rsidiff::simulation {
namespace {

using coordinator::Table;

constexpr absl::Duration kSafetyPhase = absl::Seconds(60);
constexpr absl::Duration kLivenessBound = absl::Seconds(1200);
/// As good as none: what happens when a budget is spent is looked at in a part of the scenarios.
constexpr int kUnlimited = 1'000'000;

}  // namespace

FaultPlan ChooseFaults(Faults faults, Random& random) {
  FaultPlan plan;
  plan.host.max_lost_attempts = plan.host.max_error_attempts = kUnlimited;
  if (faults == Faults::kNone) return plan;
  plan.crash_coordinator = faults == Faults::kCoordinator || random.Chance(0.5);
  plan.pause_coordinator = random.Chance(0.3);
  plan.host.clock_jumps = random.Chance(0.2);
  if (random.Chance(0.3)) plan.host.restart_delay = absl::Seconds(50);
  if (random.Chance(0.5)) plan.host.longest_write = absl::Milliseconds(50);
  if (random.Chance(0.5)) plan.host.slice_samples = 1 + random.Below(3);
  if (random.Chance(0.5)) plan.host.longest_slice = absl::Milliseconds(500);
  if (faults == Faults::kCoordinator) return plan;
  auto some = [&random](double most) {
    return random.Chance(0.5) ? most * static_cast<double>(random.Below(100)) / 100 : 0;
  };
  plan.network.request_lost = some(0.3);
  plan.network.reply_lost = some(0.3);
  plan.network.duplicated = some(0.3);
  plan.network.late = some(0.2);
  plan.worker.error = some(0.2);
  plan.worker.returned = some(0.2);
  plan.kill_workers = random.Chance(0.5);
  plan.pause_workers = random.Chance(0.5);
  plan.twin_workers = random.Chance(0.3);
  plan.drain_workers = random.Chance(0.3);
  plan.cut_workers = random.Chance(0.3);
  plan.swizzle_workers = random.Chance(0.2);
  plan.pause_runs = random.Chance(0.2);
  plan.cancel_runs = random.Chance(0.1);
  plan.fork_runs = random.Chance(0.2);
  plan.host.check_memory_always = random.Chance(0.1);
  if (random.Chance(0.2)) {
    plan.host.max_lost_attempts = HostOptions().max_lost_attempts;
    plan.host.max_error_attempts = HostOptions().max_error_attempts;
  }
  return plan;
}

Scenario::Scenario(uint64_t seed, Options options) : Scenario(seed, options, World(seed)) {}

Scenario::Scenario(uint64_t seed, Options options, World world)
    : options_(options),
      world_(std::move(world)),
      plan_(ChooseFaults(options.faults, world_.random)),
      host_(world_,
            [&] {
              plan_.host.reply_before_commit = options.reply_before_commit;
              return plan_.host;
            }()),
      network_(world_, host_),
      client_(world_, network_, host_) {
  network_.SetFaults(plan_.network);
}

Outcome Scenario::Run() {
  size_t fleet = 1 + world_.random.Below(4);
  for (size_t i = 0; i < fleet; ++i) {
    StartWorker(absl::StrCat("w", i), world_.random.Between(absl::ZeroDuration(), absl::Seconds(30)));
  }
  SubmitRuns();
  if (options_.faults != Faults::kNone) world_.After(absl::Seconds(1), [this] { Disturb(); });
  Invariants& invariants = host_.invariants();
  absl::Time calm = world_.now() + kSafetyPhase;
  while (invariants.violation().empty() && world_.RunNext(calm)) {
  }
  StopFaults();
  absl::Time bound = world_.now() + kLivenessBound;
  while (invariants.violation().empty() && !client_.AllEnded() && world_.RunNext(bound)) {
  }
  host_.CheckEnd();
  std::string fault = client_.Judge(*options_.expected);
  if (!fault.empty()) invariants.Fail(fault);
  for (auto& [name, worker] : workers_) worker->Kill(Worker::Connections::kLeftOpen);
  return {invariants.violation(), host_.event_hash(), host_.steps(), host_.leases_expired(), Story()};
}

void Scenario::SubmitRuns() {
  size_t runs = world_.random.Chance(0.7) ? 1 : 2 + world_.random.Below(2);
  bool budgets = plan_.host.max_error_attempts != kUnlimited;
  for (size_t i = 0; i < runs; ++i) {
    constexpr Workload kWorkloads[] = {Workload::kReference, Workload::kUniform, Workload::kNarrow};
    Workload workload = kWorkloads[world_.random.Below(3)];
    if (budgets && world_.random.Chance(0.3)) workload = Workload::kPoison;
    absl::Duration delay =
        i == 0 ? absl::ZeroDuration() : world_.random.Between(absl::ZeroDuration(), absl::Seconds(30));
    world_.After(delay, [this, workload] { client_.Submit(workload); });
  }
}

std::string Scenario::Story() const {
  std::vector<std::string> lines;
  for (const auto& [where, value] : host_.disk()) {
    if (where.first != Table::kEvents) continue;
    v1::EventRecord event;
    event.ParseFromString(value);
    lines.push_back(absl::StrCat(event.time_us() / 1'000'000 % 3600, " s: ", event.text()));
  }
  if (lines.size() > 25) lines.erase(lines.begin(), lines.end() - 25);
  lines.push_back(absl::StrCat((absl::ToUnixSeconds(world_.now())) % 3600, " s: end"));
  return absl::StrJoin(lines, "\n");
}

void Scenario::StopFaults() {
  disturbing_ = false;
  network_.SetFaults({});
  plan_.worker = {};
  for (auto& [name, worker] : workers_) worker->process().reachable = true;
  KeepResuming();
}

void Scenario::KeepResuming() {
  client_.ResumeAll();
  world_.After(absl::Seconds(10), [this] { KeepResuming(); });
}

void Scenario::StartWorker(const std::string& name, absl::Duration delay) {
  world_.After(delay, [this, name] {
    Worker::Environment environment{
        world_, network_, gangs_, host_.invariants(), plan_.worker, [this](const std::string& exited) {
          // The supervisor starts it again; a twin that is fenced stays away.
          if (!workers_.at(exited)->alive()) StartWorker(exited, absl::Seconds(5));
        }};
    auto& worker = workers_[name];
    if (worker != nullptr && worker->alive() && !plan_.twin_workers) return;
    worker = std::make_shared<Worker>(environment, name);
    worker->Start();
  });
}

void Scenario::Disturb() {
  if (!disturbing_) return;
  if (!workers_.empty()) DisturbWorker();
  DisturbCoordinator();
  DisturbRuns();
  world_.After(world_.random.Between(absl::Milliseconds(500), absl::Seconds(6)), [this] { Disturb(); });
}

std::string Scenario::RandomWorker() {
  return std::next(workers_.begin(), static_cast<int64_t>(world_.random.Below(workers_.size())))->first;
}

void Scenario::DisturbWorker() {
  Random& random = world_.random;
  const std::string name = RandomWorker();
  if (plan_.kill_workers && random.Chance(0.3)) {
    Kill(name, random.Between(absl::Seconds(1), absl::Seconds(25)));
  } else if (plan_.pause_workers && random.Chance(0.3)) {
    workers_.at(name)->Pause(random.Between(absl::Seconds(1), absl::Seconds(30)));
  } else if (plan_.twin_workers && random.Chance(0.2)) {
    StartWorker(name, absl::ZeroDuration());  // beside the one that still runs
  } else if (plan_.cut_workers && random.Chance(0.3)) {
    Cut(name, absl::ZeroDuration(), random.Between(absl::Seconds(1), absl::Seconds(40)));
  } else if (plan_.swizzle_workers && random.Chance(0.1)) {
    Swizzle();
  }
  if (plan_.drain_workers && random.Chance(0.2)) client_.Drain(RandomWorker());
}

void Scenario::Kill(const std::string& name, absl::Duration restart) {
  workers_.at(name)->Kill(world_.random.Chance(0.7) ? Worker::Connections::kClosed
                                                    : Worker::Connections::kLeftOpen);
  StartWorker(name, restart);
}

void Scenario::Cut(const std::string& name, absl::Duration from, absl::Duration until) {
  std::shared_ptr<Worker> worker = workers_.at(name);
  world_.After(from, [this, worker] { worker->process().reachable = !disturbing_; });
  world_.After(until, [worker] { worker->process().reachable = true; });
}

void Scenario::Swizzle() {
  bool kill = world_.random.Chance(0.5);
  for (const auto& [name, worker] : workers_) {
    absl::Duration down = world_.random.Between(absl::ZeroDuration(), absl::Seconds(10));
    absl::Duration up = world_.random.Between(absl::Seconds(10), absl::Seconds(40));
    if (!kill) {
      Cut(name, down, up);
      continue;
    }
    world_.After(down, [this, name = name, restart = up - down] {
      if (disturbing_) Kill(name, restart);
    });
  }
}

void Scenario::DisturbCoordinator() {
  Random& random = world_.random;
  if (plan_.crash_coordinator && random.Chance(0.3)) {
    constexpr CoordinatorHost::Crash kCrashes[] = {CoordinatorHost::Crash::kBeforeWrite,
                                                   CoordinatorHost::Crash::kAppliedButTimedOut,
                                                   CoordinatorHost::Crash::kPowerLoss};
    host_.CrashAtNextWrite(kCrashes[random.Below(3)]);
  }
  if (plan_.pause_coordinator && random.Chance(0.15))
    host_.Pause(random.Between(absl::Seconds(1), absl::Seconds(40)));
}

void Scenario::DisturbRuns() {
  Random& random = world_.random;
  if (plan_.pause_runs && random.Chance(0.2)) client_.PauseOrResume();
  if (plan_.cancel_runs && random.Chance(0.05)) client_.Cancel();
  if (plan_.fork_runs && random.Chance(0.1)) client_.Fork();
}

}  // namespace rsidiff::simulation
