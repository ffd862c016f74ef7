#include "tests/simulation/coordinator_host.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "tests/unit/coordinator/core_harness.h"

namespace rsidiff::simulation {

using coordinator::Core;
using coordinator::Event;
using coordinator::Reply;
using coordinator::Row;
using coordinator::StepResult;

namespace {

/// More slices than the selection and the weights of a workload's round take.
constexpr int kMostSlices = 2000;

}  // namespace

CoordinatorHost::CoordinatorHost(World& world, HostOptions options) : world_(world), options_(options) {
  invariants_.SetBudgets(options_.max_lost_attempts, options_.max_error_attempts);
  Start();
}

void CoordinatorHost::Start() {
  ++life_;
  tick_at_ = absl::InfiniteFuture();
  paused_until_ = absl::InfinitePast();
  commit_scheduled_ = false;
  if (options_.clock_jumps) {
    clock_is_fast_ = world_.random.Between(-absl::Hours(24), absl::Hours(24));
  }
  std::vector<Row> rows;
  for (const auto& [where, value] : disk_) {
    if (where.first != coordinator::Table::kEvents) rows.push_back({where.first, where.second, value});
  }
  coordinator::CoreOptions options;
  options.cluster_id = "simulation";
  options.max_lost_attempts = options_.max_lost_attempts;
  options.max_error_attempts = options_.max_error_attempts;
  options.slice_samples = options_.slice_samples;
  auto recovered = Core::Recover(options, std::move(rows), Clock());
  if (!recovered.ok()) return invariants_.Fail(absl::StrCat("recovery: ", recovered.status().ToString()));
  core_ = std::move(recovered->first);
  invariants_.Reload(disk_);
  invariants_.CheckStep(recovered->second);
  std::vector<StepResult> steps;
  steps.push_back(std::move(recovered->second));
  Write(steps);
  CheckMemory();
  ScheduleTick();
}

uint64_t CoordinatorHost::leases_expired() const {
  return expired_before_ + (up() ? core_->statistics().leases_expired : 0);
}

void CoordinatorHost::WhenAwake(std::function<void()> action) {
  if (!up()) return;
  if (world_.now() >= paused_until_) return action();
  world_.After(paused_until_ - world_.now(), [this, life = life_, action = std::move(action)] {
    if (life == life_) WhenAwake(action);
  });
}

uint64_t CoordinatorHost::Receive(coordinator::Request request, Callback reply) {
  uint64_t id = next_call_++;
  if (const auto* lease = std::get_if<v1::LeaseRequest>(&request)) lease_requests_[id] = lease->request_id();
  auto call = std::make_shared<Call>(Call{std::move(request), std::move(reply)});
  WhenAwake([this, id, call] {
    calls_[id] = *call;
    Step({id, call->request});
  });
  return id;
}

void CoordinatorHost::Cancel(uint64_t id) {
  WhenAwake([this, id] {
    auto call = calls_.find(id);
    if (call != calls_.end()) call->second.reply = nullptr;
    auto lease = lease_requests_.find(id);
    if (lease != lease_requests_.end()) acknowledgements_.ForgetGrants(lease->second);
    Step({0, coordinator::Cancelled{id}});
  });
}

void CoordinatorHost::Step(Event event) {
  bool may_complete = true;
  if (const auto* complete = std::get_if<v1::CompleteRequest>(&event.request))
    may_complete = invariants_.MayComplete(*complete);
  auto* fork = std::get_if<coordinator::ForkRun>(&event.request);
  if (fork != nullptr) fork->parent = coordinator::ForkRows(disk_, fork->request.run_id());
  StepResult result = core_->Step(Clock(), std::move(event));
  ++steps_;
  invariants_.CheckStep(result);
  for (const Reply& reply : result.replies) {
    auto call = calls_.find(reply.id);
    if (call == calls_.end()) {
      invariants_.Fail(absl::StrCat("answer to no call, or a second one: ", reply.id));
      continue;
    }
    invariants_.CheckAnswer(call->second.request, reply.response, may_complete);
  }
  if (core_->statistics().completions != invariants_.completions())
    invariants_.Fail("I2: completions are counted that changed no task");
  if (options_.reply_before_commit) Release(std::exchange(result.replies, {}));
  pending_.push_back(std::move(result));
  if (options_.longest_write == absl::ZeroDuration()) {
    Commit();
  } else if (!std::exchange(commit_scheduled_, true)) {
    world_.After(world_.random.Between(absl::ZeroDuration(), options_.longest_write), [this, life = life_] {
      if (life == life_) WhenAwake([this] { Commit(); });
    });
  }
  if (up()) ScheduleTick();
}

void CoordinatorHost::Commit() {
  commit_scheduled_ = false;
  std::vector<StepResult> steps = std::exchange(pending_, {});
  bool writes = false;
  for (const StepResult& step : steps) writes = writes || !step.rows.empty();
  if (crash_next_.has_value() && writes) {
    Crash crash = *std::exchange(crash_next_, std::nullopt);
    if (crash != Crash::kBeforeWrite) Write(steps);
    return GoDown(crash);
  }
  Write(steps);
  if (options_.check_memory_always || writes_ % 64 == 0) CheckMemory();
  for (StepResult& step : steps) Release(std::move(step.replies));
}

void CoordinatorHost::Write(const std::vector<StepResult>& steps) {
  Undo undo;
  bool sync = false;
  for (const StepResult& step : steps) {
    unstored_.insert(unstored_.end(), step.artifacts.begin(), step.artifacts.end());
    // As late as it may be: what no row names yet is lost in a crash.
    if (step.name_artifacts) {
      for (const std::string& artifact : std::exchange(unstored_, {}))
        artifacts_[Sha256Hex(artifact)] = artifact;
    }
    sync = sync || step.sync;
    for (const auto& row : step.rows) {
      CheckArtifacts(row);
      Mix(row.key);
      auto [place, fresh] = disk_.try_emplace({row.table, row.key});
      undo.emplace_back(place->first, fresh ? std::nullopt : std::make_optional(place->second));
      if (row.value.has_value()) {
        Mix(*row.value);
        place->second = *row.value;
      } else {
        disk_.erase(place);
      }
    }
  }
  ++writes_;
  if (sync) {
    unsynced_.clear();
  } else if (!undo.empty()) {
    unsynced_.push_back(std::move(undo));
  }
}

void CoordinatorHost::CheckArtifacts(const coordinator::RowWrite& row) {
  v1::RoundRecord round;
  if (row.table != coordinator::Table::kRounds || !round.ParseFromString(row.value.value_or(""))) return;
  for (const std::string& part : round.manifest_parts()) {
    if (artifacts_.count(part) == 0) invariants_.Fail("I9: a row names an artifact that is not stored");
  }
}

void CoordinatorHost::Release(std::vector<Reply> replies) {
  for (Reply& reply : replies) {
    auto found = calls_.find(reply.id);
    if (found == calls_.end()) continue;
    Call call = std::move(found->second);
    calls_.erase(found);
    Mix(absl::StrCat(reply.id, reply.response.status().ToString()));
    if (!call.reply) continue;  // the caller has gone
    acknowledgements_.Add(disk_, call.request, reply.response);
    call.reply(std::move(reply.response));
  }
}

void CoordinatorHost::GoDown(Crash crash) {
  expired_before_ += core_->statistics().leases_expired;
  core_.reset();
  calls_.clear();
  unstored_.clear();
  ++life_;
  if (crash == Crash::kPowerLoss && !unsynced_.empty()) {
    size_t kept = world_.random.Below(unsynced_.size());
    for (; unsynced_.size() > kept; unsynced_.pop_back()) {
      for (auto row = unsynced_.back().rbegin(); row != unsynced_.back().rend(); ++row) {
        if (row->second.has_value()) {
          disk_[row->first] = *row->second;
        } else {
          disk_.erase(row->first);
        }
      }
    }
    acknowledgements_.ForgetGrants();
  }
  unsynced_.clear();
  acknowledgements_.Check(disk_);
  world_.After(options_.restart_delay, [this] { Start(); });
}

void CoordinatorHost::ScheduleTick() {
  absl::Time due = core_->NextTimer();
  if (due >= tick_at_ || due == absl::InfiniteFuture()) return;
  tick_at_ = due;
  absl::Duration wait = due - Clock();
  if (wait <= absl::ZeroDuration())
    wait = world_.random.Between(absl::ZeroDuration(), options_.longest_slice);
  world_.After(wait, [this, life = life_, due] {
    if (life != life_ || tick_at_ != due) return;
    WhenAwake([this] {
      tick_at_ = absl::InfiniteFuture();
      Step({0, coordinator::Tick()});
      due_ticks_ = up() && core_->NextTimer() <= Clock() ? due_ticks_ + 1 : 0;
      if (due_ticks_ > kMostSlices) invariants_.Fail("a timer is due and ticks do not serve it");
    });
  });
}

void CoordinatorHost::CheckEnd() {
  if (up() && !pending_.empty()) Commit();
  if (up()) CheckMemory();
  acknowledgements_.Check(disk_);
}

void CoordinatorHost::CheckMemory() {
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
