#include "tests/simulation/scenario.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::simulation {
namespace {

using coordinator::Table;

constexpr uint32_t kRounds = 2;
constexpr absl::Duration kSafetyPhase = absl::Seconds(60);
constexpr absl::Duration kLivenessBound = absl::Seconds(300);

}  // namespace

Scenario::Scenario(uint64_t seed, Faults faults)
    : faults_(faults),
      world_(seed),
      host_(world_, absl::Seconds(world_.random.Chance(0.3) ? 50 : 2)),
      network_(world_, host_) {}

Outcome Scenario::Run() {
  if (faults_ == Faults::kSwarm) ChooseFaults();
  int fleet = 1 + static_cast<int>(world_.random.Next() % 4);
  for (int i = 0; i < fleet; ++i) {
    StartWorker(absl::StrCat("w", i), world_.random.Between(absl::ZeroDuration(), absl::Seconds(20)));
  }
  Submit();
  if (faults_ == Faults::kSwarm) world_.After(absl::Seconds(1), [this] { Disturb(); });
  Invariants& invariants = host_.invariants();
  absl::Time calm = world_.now() + kSafetyPhase;
  while (invariants.violation().empty() && world_.RunNext(calm)) {
  }
  StopFaults();
  absl::Time bound = world_.now() + kLivenessBound;
  while (invariants.violation().empty() && State() != v1::RUN_STATE_SUCCEEDED && world_.RunNext(bound)) {
  }
  host_.CheckMemory();
  invariants.CheckAcknowledged(host_.disk());
  if (State() != v1::RUN_STATE_SUCCEEDED) {
    invariants.Fail(absl::StrCat("liveness: the run is in state ", State(), " long after the faults ended"));
  }
  for (auto& [name, worker] : workers_) worker->Kill();
  return {invariants.violation(), host_.event_hash(), host_.steps(), Result(), Story()};
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

void Scenario::ChooseFaults() {
  Random& random = world_.random;
  auto some = [&random](double most) {
    return random.Chance(0.5) ? most * static_cast<double>(random.Next() % 100) / 100 : 0;
  };
  NetworkFaults network;
  network.request_lost = some(0.3);
  network.reply_lost = some(0.3);
  network.duplicated = some(0.3);
  network.late = some(0.2);
  network_.SetFaults(network);
  worker_faults_.error = some(0.2);
  worker_faults_.returned = some(0.2);
  kill_workers_ = random.Chance(0.5);
  pause_workers_ = random.Chance(0.5);
  twin_workers_ = random.Chance(0.3);
  crash_coordinator_ = random.Chance(0.5);
  drain_workers_ = random.Chance(0.3);
  pause_run_ = random.Chance(0.2);
}

void Scenario::StopFaults() {
  disturbing_ = false;
  network_.SetFaults({});
  worker_faults_ = {};
  KeepResuming();
}

void Scenario::KeepResuming() {
  // A late call may pause the run again.
  if (State() == v1::RUN_STATE_PAUSED) PauseRun();
  world_.After(absl::Seconds(10), [this] { KeepResuming(); });
}

std::string Scenario::RequestId() {
  return absl::StrCat("client-", world_.random.Next());
}

void Scenario::Call(coordinator::Request request) {
  network_.Call(client_, std::move(request), absl::Seconds(4), [](absl::StatusOr<coordinator::Response>) {});
}

void Scenario::Submit() {
  Call(coordinator::SmallRun(RequestId(), kRounds));
}

void Scenario::StartWorker(const std::string& name, absl::Duration delay) {
  world_.After(delay, [this, name] {
    Worker::Environment environment{world_,
                                    network_,
                                    gangs_,
                                    host_.invariants(),
                                    host_,
                                    worker_faults_,
                                    [this](const std::string& exited) {
                                      // The supervisor starts it again; a twin that is fenced stays away.
                                      if (!workers_.at(exited)->alive())
                                        StartWorker(exited, absl::Seconds(5));
                                    }};
    auto& worker = workers_[name];
    if (worker != nullptr && worker->alive() && !twin_workers_) return;
    worker = std::make_shared<Worker>(environment, name);
    worker->Start();
  });
}

void Scenario::Disturb() {
  if (!disturbing_) return;
  if (kill_workers_ || pause_workers_ || twin_workers_) DisturbWorker();
  if (crash_coordinator_ && world_.random.Chance(0.3)) CrashCoordinator();
  if (drain_workers_ && world_.random.Chance(0.2)) Drain();
  if (pause_run_ && world_.random.Chance(0.2)) PauseRun();
  world_.After(world_.random.Between(absl::Milliseconds(500), absl::Seconds(6)), [this] { Disturb(); });
}

void Scenario::DisturbWorker() {
  if (workers_.empty()) return;
  auto victim = std::next(workers_.begin(), static_cast<int64_t>(world_.random.Next() % workers_.size()));
  const std::string name = victim->first;
  if (kill_workers_ && world_.random.Chance(0.3)) {
    victim->second->Kill();
    StartWorker(name, world_.random.Between(absl::Seconds(1), absl::Seconds(25)));
  } else if (pause_workers_ && world_.random.Chance(0.3)) {
    victim->second->Pause(world_.random.Between(absl::Seconds(1), absl::Seconds(30)));
  } else if (twin_workers_ && world_.random.Chance(0.2)) {
    StartWorker(name, absl::ZeroDuration());  // beside the one that still runs
  }
}

void Scenario::CrashCoordinator() {
  constexpr CoordinatorHost::Crash kCrashes[] = {CoordinatorHost::Crash::kBeforeWrite,
                                                 CoordinatorHost::Crash::kBeforeReply,
                                                 CoordinatorHost::Crash::kPowerLoss};
  host_.CrashAtNextWrite(kCrashes[world_.random.Next() % 3]);
}

void Scenario::Drain() {
  if (workers_.empty()) return;
  auto victim = std::next(workers_.begin(), static_cast<int64_t>(world_.random.Next() % workers_.size()));
  v1::DrainWorkerRequest request;
  request.set_request_id(RequestId());
  request.set_name(victim->first);
  request.set_deadline_seconds(world_.random.Next() % 2 * 20);
  request.set_reason("simulated");
  Call(request);
}

void Scenario::PauseRun() {
  v1::SetRunStateRequest request;
  request.set_request_id(RequestId());
  request.set_run_id(1);
  request.set_state(State() == v1::RUN_STATE_PAUSED ? v1::RUN_STATE_ACTIVE : v1::RUN_STATE_PAUSED);
  Call(request);
}

v1::RunState Scenario::State() const {
  auto row = host_.disk().find({Table::kRuns, coordinator::RunKey(1)});
  if (row == host_.disk().end()) return v1::RUN_STATE_UNSPECIFIED;
  v1::RunRecord run;
  run.ParseFromString(row->second);
  return run.state();
}

std::string Scenario::Result() const {
  std::string result;
  for (const auto& [where, value] : host_.disk()) {
    if (where.first != Table::kRounds) continue;
    v1::RoundRecord round;
    round.ParseFromString(value);
    size_t samples = 0;
    for (const auto& [key, sample] : host_.disk())
      samples += key.first == Table::kSamples && key.second.compare(0, 12, where.second) == 0;
    absl::StrAppend(&result, round.round(), " ", round.manifest(), " ", round.checkpoint(), " ", samples, " ",
                    round.evaluation().frechet(), "\n");
  }
  return result;
}

}  // namespace rsidiff::simulation
