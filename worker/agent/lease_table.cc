#include "worker/agent/lease_table.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "worker/phase/task.h"

namespace rsidiff::worker {

v1::HeldLease Lease::Held() const {
  v1::HeldLease held;
  held.set_token(grant_.token());
  *held.mutable_task() = grant_.task();
  absl::MutexLock lock(&mutex_);
  held.set_progress(progress_);
  held.set_generation(generation_);
  held.set_step(step_);
  held.set_loss(loss_);
  return held;
}

void Lease::SetProgress(double fraction) {
  absl::MutexLock lock(&mutex_);
  progress_ = std::clamp(fraction, 0.0, 1.0);
}

double Lease::progress() const {
  absl::MutexLock lock(&mutex_);
  return progress_;
}

void Lease::SetStep(uint64_t generation, uint64_t step, double loss) {
  absl::MutexLock lock(&mutex_);
  generation_ = generation;
  step_ = step;
  loss_ = loss;
}

void Lease::EnterGeneration(uint64_t generation) {
  absl::MutexLock lock(&mutex_);
  generation_ = generation;
  regroup_requested_ = false;
}

void Lease::SetRegroup(uint64_t generation, bool requested) {
  absl::MutexLock lock(&mutex_);
  if (generation == generation_) regroup_requested_ = requested;
}

bool Lease::regroup_requested() const {
  absl::MutexLock lock(&mutex_);
  return regroup_requested_;
}

void Lease::Drop() {
  absl::MutexLock lock(&mutex_);
  dropped_ = true;
}

bool Lease::dropped() const {
  absl::MutexLock lock(&mutex_);
  return dropped_;
}

LogFields LogFieldsOf(const Lease& lease) {
  LogFields fields;
  fields.run = lease.grant().task().run_id();
  fields.round = lease.grant().task().round();
  fields.task = absl::StrCat(TaskKindName(lease.kind()), "/", lease.grant().task().index());
  return fields;
}

std::shared_ptr<Lease> LeaseTable::Add(v1::Grant grant) {
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<Lease>& lease = leases_[grant.token()];
  if (lease == nullptr) lease = std::make_shared<Lease>(std::move(grant));
  return lease;
}

void LeaseTable::Remove(uint64_t token) {
  absl::MutexLock lock(&mutex_);
  leases_.erase(token);
}

void LeaseTable::Drop(const std::vector<uint64_t>& tokens) {
  absl::MutexLock lock(&mutex_);
  for (uint64_t token : tokens) {
    auto found = leases_.find(token);
    if (found == leases_.end()) continue;
    found->second->Drop();
    leases_.erase(found);
  }
}

void LeaseTable::DropAll() {
  absl::MutexLock lock(&mutex_);
  for (auto& [token, lease] : leases_) lease->Drop();
  leases_.clear();
}

void LeaseTable::Apply(const v1::HeartbeatRequest& sent, const v1::HeartbeatResponse& answer) {
  Drop({answer.dropped_tokens().begin(), answer.dropped_tokens().end()});
  absl::MutexLock lock(&mutex_);
  for (const v1::HeldLease& held : sent.held()) {
    auto found = leases_.find(held.token());
    if (found == leases_.end()) continue;
    bool requested =
        std::count(answer.regroup_tokens().begin(), answer.regroup_tokens().end(), held.token()) > 0;
    found->second->SetRegroup(held.generation(), requested);
  }
}

std::vector<v1::HeldLease> LeaseTable::Held() const {
  absl::MutexLock lock(&mutex_);
  std::vector<v1::HeldLease> held;
  held.reserve(leases_.size());
  for (const auto& [token, lease] : leases_) held.push_back(lease->Held());
  return held;
}

}  // namespace rsidiff::worker
