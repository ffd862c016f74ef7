#include "tests/simulation/coordinator_host.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "tests/unit/coordinator/core_harness.h"

namespace rsidiff::simulation {

using coordinator::Core;
using coordinator::Event;
using coordinator::Row;
using coordinator::StepResult;

CoordinatorHost::CoordinatorHost(World& world, absl::Duration restart_delay)
    : world_(world), restart_delay_(restart_delay) {
  Start();
}

void CoordinatorHost::Start() {
  std::vector<Row> rows;
  for (const auto& [where, value] : disk_) {
    if (where.first != coordinator::Table::kEvents) rows.push_back({where.first, where.second, value});
  }
  coordinator::CoreOptions options;
  options.cluster_id = "simulation";
  // Faults are the point here; what happens when budgets run out has tests of its own.
  options.max_lost_attempts = 1'000'000;
  options.max_error_attempts = 1'000'000;
  auto recovered = Core::Recover(options, std::move(rows), world_.now());
  if (!recovered.ok()) return invariants_.Fail(absl::StrCat("recovery: ", recovered.status().ToString()));
  core_ = std::move(recovered->first);
  ++life_;
  tick_at_ = absl::InfiniteFuture();
  Write(recovered->second);
  CheckMemory();
  ScheduleTick();
}

void CoordinatorHost::Receive(coordinator::Request request, Callback reply) {
  if (!up()) return;
  uint64_t id = next_call_++;
  waiting_[id] = std::move(reply);
  Step({id, std::move(request)});
}

void CoordinatorHost::Step(Event event) {
  StepResult result = core_->Step(world_.now(), std::move(event));
  ++steps_;
  if (armed_ && !result.rows.empty()) {
    armed_ = false;
    if (crash_next_ != Crash::kBeforeWrite) Write(result);
    return GoDown(crash_next_);
  }
  Write(result);
  if (steps_ % 64 == 0) CheckMemory();
  for (coordinator::Reply& reply : result.replies) {
    auto waiting = waiting_.find(reply.id);
    if (waiting == waiting_.end()) {
      invariants_.Fail(absl::StrCat("answer to no call, or a second one: ", reply.id));
      continue;
    }
    Mix(absl::StrCat(reply.id, reply.response.status().ToString()));
    Callback callback = std::move(waiting->second);
    waiting_.erase(waiting);
    callback(std::move(reply.response));
  }
  ScheduleTick();
}

void CoordinatorHost::Write(const StepResult& result) {
  if (result.rows.empty()) return;
  invariants_.Check(disk_, result);
  for (const std::string& artifact : result.artifacts) artifacts_[Sha256Hex(artifact)] = artifact;
  if (result.sync) {
    unsynced_.clear();
  } else if (unsynced_.size() < 4) {
    unsynced_.push_back(disk_);
  }
  for (const auto& row : result.rows) {
    Mix(row.key);
    if (row.value.has_value()) {
      Mix(*row.value);
      disk_[{row.table, row.key}] = *row.value;
    } else {
      disk_.erase({row.table, row.key});
    }
  }
}

void CoordinatorHost::GoDown(Crash crash) {
  core_.reset();
  waiting_.clear();
  if (crash == Crash::kPowerLoss && !unsynced_.empty()) {
    disk_ = unsynced_[world_.random.Next() % unsynced_.size()];
  }
  unsynced_.clear();
  invariants_.CheckAcknowledged(disk_);
  world_.After(restart_delay_, [this] { Start(); });
}

void CoordinatorHost::ScheduleTick() {
  absl::Time due = core_->NextTimer();
  if (due >= tick_at_ || due == absl::InfiniteFuture()) return;
  tick_at_ = due;
  uint64_t life = life_;
  world_.After(std::max(due - world_.now(), absl::ZeroDuration()), [this, life, due] {
    if (life != life_ || !up() || tick_at_ != due) return;
    tick_at_ = absl::InfiniteFuture();
    Step({0, coordinator::Tick()});
    if (up() && core_->NextTimer() <= world_.now())
      invariants_.Fail("a timer is due and a tick does not serve it");
  });
}

void CoordinatorHost::CheckMemory() {
  if (!up()) return;
  std::vector<Row> memory = core_->Dump();
  std::vector<Row> disk = coordinator::NeededRows(disk_);
  size_t same = 0;
  while (same < memory.size() && same < disk.size() && memory[same].table == disk[same].table &&
         memory[same].key == disk[same].key && memory[same].value == disk[same].value) {
    ++same;
  }
  if (same == memory.size() && same == disk.size()) return;
  const Row& row = same < memory.size() ? memory[same] : disk[same];
  invariants_.Fail(absl::StrCat("I6: memory and disk differ in table ", coordinator::TableName(row.table)));
}

void CoordinatorHost::Mix(const std::string& bytes) {
  // FNV-1a.
  for (unsigned char c : bytes) hash_ = (hash_ ^ c) * 1099511628211u;
}

}  // namespace rsidiff::simulation
