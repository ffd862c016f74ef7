#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/protocol.h"
#include "common/base/status_macros.h"
#include "coordinator/schedule/offer.h"
#include "coordinator/state/core_impl.h"

namespace rsidiff::coordinator {
namespace {

bool IsWorkerName(const std::string& name) {
  return !name.empty() && name.size() <= 63 && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  });
}

absl::Status Replaced(const std::string& name) {
  return absl::AbortedError(absl::StrCat("FENCED: a newer process registered as worker ", name));
}

}  // namespace

absl::StatusOr<Worker*> Core::Impl::CallingWorker(const std::string& name, uint64_t incarnation) {
  auto found = workers_.find(name);
  if (found == workers_.end()) return absl::NotFoundError(absl::StrCat("worker is not registered: ", name));
  Worker& worker = found->second;
  if (incarnation < worker.record.incarnation()) return Replaced(name);
  if (incarnation > worker.record.incarnation() || worker.record.state() == v1::WORKER_STATE_LOST) {
    return absl::NotFoundError(absl::StrCat("worker has to register again: ", name));
  }
  worker.seen = std::max(worker.seen, now_);
  return &worker;
}

absl::StatusOr<Response> Core::Impl::Handle(const v1::RegisterRequest& request) {
  const std::string method = v1::RegisterRequest::descriptor()->name();
  if (request.protocol_version() != kProtocolVersion) {
    return absl::FailedPreconditionError(absl::StrCat("worker ", request.name(), " speaks protocol version ",
                                                      request.protocol_version(),
                                                      "; this coordinator speaks ", kProtocolVersion));
  }
  if (!IsWorkerName(request.name())) {
    return absl::InvalidArgumentError(
        absl::StrCat("name has to match [A-Za-z0-9._-]{1,63}: \"", request.name().substr(0, 80), "\""));
  }
  RSIDIFF_RETURN_IF_ERROR(CheckOffer(request.capabilities()));
  RSIDIFF_ASSIGN_OR_RETURN(std::optional<v1::RequestRecord> known, FindRequest(request.request_id(), method));
  v1::RegisterResponse response;
  if (known.has_value()) {
    response.ParseFromString(known->response());
    return response;
  }
  Worker& worker = workers_[request.name()];
  uint64_t current = worker.record.incarnation();
  if (request.incarnation() != 0 && request.incarnation() < current && worker.alive()) {
    return Replaced(request.name());
  }
  bool same_process = request.incarnation() != 0 && request.incarnation() == current;
  // A process that was asked to leave stays asked, whatever happened to its connection.
  bool leaving = same_process && !worker.record.drain_reason().empty();
  bool keeps_incarnation = same_process && (worker.alive() || leaving);
  if (keeps_incarnation && !worker.alive()) {
    SetWorkerState(worker, v1::WORKER_STATE_DRAINED);
  } else if (!keeps_incarnation) {
    ReplaceProcess(worker);
    worker.record.set_name(request.name());
    worker.record.set_incarnation(meta_.next_incarnation());
    meta_.set_next_incarnation(meta_.next_incarnation() + 1);
    SetWorkerState(worker, v1::WORKER_STATE_ACTIVE);
    worker.record.set_registered_us(NowMicros());
    worker.record.clear_drain_deadline_us();
    worker.record.clear_drain_allowed_us();
    worker.record.clear_drain_reason();
    Log(0, 0, request.name(),
        absl::StrCat("worker ", request.name(), " joined as incarnation ", worker.record.incarnation()));
  }
  *worker.record.mutable_capabilities() = request.capabilities();
  worker.seen = now_;
  workers_due_ = std::min(workers_due_, DueTime(worker));
  PutWorker(worker);
  Put(Table::kMeta, std::string(kMetaKey), meta_);
  work_for_.insert(request.name());

  response.set_incarnation(worker.record.incarnation());
  response.set_cluster_id(meta_.cluster_id());
  response.set_lease_ttl_ms(absl::ToInt64Milliseconds(options_.lease_ttl));
  for (uint64_t token : Renew(worker, request.held())) response.add_dropped_tokens(token);
  v1::RequestRecord record;
  record.set_method(method);
  record.set_response(response.SerializeAsString());
  RememberRequest(request.request_id(), std::move(record));
  return response;
}

absl::StatusOr<Response> Core::Impl::Handle(const v1::HeartbeatRequest& request) {
  RSIDIFF_ASSIGN_OR_RETURN(Worker * worker, CallingWorker(request.worker(), request.incarnation()));
  v1::HeartbeatResponse response;
  for (uint64_t token : Renew(*worker, request.held())) response.add_dropped_tokens(token);
  for (const v1::HeldLease& held : request.held()) {
    if (MustRegroup(held.token())) response.add_regroup_tokens(held.token());
  }
  response.set_draining(worker->record.state() != v1::WORKER_STATE_ACTIVE);
  if (worker->record.drain_deadline_us() > 0) {
    absl::Duration left = absl::FromUnixMicros(worker->record.drain_deadline_us()) - now_;
    response.set_drain_left_ms(std::max<int64_t>(0, absl::ToInt64Milliseconds(left)));
  }
  response.set_lease_ttl_ms(absl::ToInt64Milliseconds(options_.lease_ttl));
  return response;
}

std::vector<uint64_t> Core::Impl::Renew(Worker& worker,
                                        const google::protobuf::RepeatedPtrField<v1::HeldLease>& held) {
  std::vector<uint64_t> dropped;
  for (const v1::HeldLease& claim : held) {
    Lease* lease = ValidLease(claim.token(), TaskId::From(claim.task()), worker);
    if (lease == nullptr) {
      dropped.push_back(claim.token());
      continue;
    }
    if (lease->unknown) Reassert(*lease);
    Claim(*lease);
    lease->deadline = std::max(lease->deadline, now_ + options_.lease_ttl);
    lease->step = std::max(lease->step, claim.step());
    if (claim.step() > 0) lease->loss = claim.loss();
  }
  return dropped;
}

absl::StatusOr<Response> Core::Impl::Handle(const v1::DrainWorkerRequest& request) {
  const std::string method = v1::DrainWorkerRequest::descriptor()->name();
  RSIDIFF_ASSIGN_OR_RETURN(std::optional<v1::RequestRecord> known, FindRequest(request.request_id(), method));
  auto found = workers_.find(request.name());
  if (found == workers_.end()) return absl::NotFoundError(absl::StrCat("no such worker: ", request.name()));
  Worker& worker = found->second;
  if (!known.has_value() && worker.alive()) {
    SetWorkerState(worker, v1::WORKER_STATE_DRAINING);
    worker.record.set_drain_reason(request.reason().empty() ? "no reason given" : request.reason());
    // A SIGTERM after a drain by hand names no deadline, and does not lift the one that there is.
    if (request.deadline_seconds() > 0) {
      absl::Duration allowed = absl::Seconds(request.deadline_seconds());
      worker.record.set_drain_deadline_us(absl::ToUnixMicros(now_ + allowed));
      worker.record.set_drain_allowed_us(absl::ToInt64Microseconds(allowed));
      workers_due_ = std::min(workers_due_, DueTime(worker));
    }
    PutWorker(worker);
    Log(0, 0, request.name(), absl::StrCat("worker ", request.name(), " drains: ", request.reason()));
    FinishDrain(worker);
    v1::RequestRecord record;
    record.set_method(method);
    RememberRequest(request.request_id(), std::move(record));
  }
  v1::DrainWorkerResponse response;
  *response.mutable_worker() = Describe(worker);
  return response;
}

void Core::Impl::ReplaceProcess(Worker& worker) {
  for (uint64_t token : std::set<uint64_t>(worker.tokens)) {
    EndLease(token, LeaseEnd::kLost, "the worker's process was replaced");
  }
  ReleasePictures(worker.record.name());
  for (uint64_t number : lease_polls_.Of(worker.record.name())) {
    for (uint64_t event : lease_polls_.Take(number).events) Answer(event, Replaced(worker.record.name()));
  }
}

void Core::Impl::SetWorkerState(Worker& worker, v1::WorkerState state) {
  const v1::WorkerState before = worker.record.state();
  worker.record.set_state(state);
  if (before != v1::WORKER_STATE_UNSPECIFIED) --worker_counts_[before];
  ++worker_counts_[state];
  if (before != v1::WORKER_STATE_ACTIVE || state == before) return;
  ReleasePictures(worker.record.name());
  work_for_everybody_ = true;  // the last one that is left takes what it avoided before
}

void Core::Impl::ReleasePictures(const std::string& worker) {
  for (uint64_t id : open_runs_) {
    for (auto& [number, round] : runs_.at(id).rounds) {
      for (auto& [key, group] : round.groups) {
        auto kept = group.kept_for.find(worker);
        if (kept == group.kept_for.end()) continue;
        for (uint32_t index : kept->second) {
          round.tasks.at({id, number, key.first, key.second, index}).preferred_worker.clear();
        }
        group.ready.merge(kept->second);
        group.kept_for.erase(kept);
        work_for_everybody_ = true;
      }
    }
  }
}

void Core::Impl::LoseWorker(Worker& worker) {
  for (uint64_t token : std::set<uint64_t>(worker.tokens)) {
    auto lease = leases_.find(token);
    if (lease == leases_.end()) continue;  // went with the run that the one before failed
    bool unknown = lease->second.unknown;
    if (!unknown) ++statistics_.leases_expired;
    EndLease(token, unknown ? LeaseEnd::kForgotten : LeaseEnd::kLost,
             absl::StrCat("worker ", worker.record.name(), " was not heard of any more"));
  }
  Retire(worker, v1::WORKER_STATE_LOST);
  Log(0, 0, worker.record.name(), absl::StrCat("worker ", worker.record.name(), " was lost"));
}

void Core::Impl::FinishDrain(Worker& worker) {
  if (worker.record.state() != v1::WORKER_STATE_DRAINING || !worker.tokens.empty()) return;
  Retire(worker, v1::WORKER_STATE_DRAINED);
  Log(0, 0, worker.record.name(), absl::StrCat("worker ", worker.record.name(), " is drained"));
}

void Core::Impl::Retire(Worker& worker, v1::WorkerState state) {
  SetWorkerState(worker, state);
  worker.record.set_seen_us(absl::ToUnixMicros(std::min(worker.seen, now_)));
  workers_due_ = std::min(workers_due_, DueTime(worker));
  PutWorker(worker);
}

void Core::Impl::ForgetGoneWorkers() {
  for (auto worker = workers_.begin(); worker != workers_.end();) {
    // Incarnations are the cluster's, not the name's: a process that comes back gets a greater one.
    bool forget = !worker->second.alive() && worker->second.tokens.empty() &&
                  worker->second.seen + options_.keep_gone_workers <= now_;
    if (forget) {
      Delete(Table::kWorkers, worker->first);
      const v1::WorkerState state = worker->second.record.state();
      if (state != v1::WORKER_STATE_UNSPECIFIED) --worker_counts_[state];
    }
    worker = forget ? workers_.erase(worker) : std::next(worker);
  }
}

absl::Time Core::Impl::DueTime(const Worker& worker) const {
  if (worker.alive()) {
    absl::Time due = worker.seen + options_.lease_ttl;
    bool drains = worker.record.state() == v1::WORKER_STATE_DRAINING && worker.record.drain_deadline_us() > 0;
    return drains ? std::min(due, absl::FromUnixMicros(worker.record.drain_deadline_us())) : due;
  }
  return worker.tokens.empty() ? worker.seen + options_.keep_gone_workers : absl::InfiniteFuture();
}

void Core::Impl::ExpireWorkers() {
  if (now_ < workers_due_) return;
  for (auto& [name, worker] : workers_) {
    if (worker.record.state() == v1::WORKER_STATE_DRAINING && worker.record.drain_deadline_us() > 0 &&
        worker.record.drain_deadline_us() <= NowMicros()) {
      for (uint64_t token : std::set<uint64_t>(worker.tokens)) {
        EndLease(token, LeaseEnd::kReturned, "the worker's drain deadline passed");
      }
      FinishDrain(worker);
    }
    if (worker.alive() && worker.seen + options_.lease_ttl <= now_) LoseWorker(worker);
  }
  ForgetGoneWorkers();
  workers_due_ = absl::InfiniteFuture();
  for (const auto& [name, worker] : workers_) workers_due_ = std::min(workers_due_, DueTime(worker));
}

uint32_t Core::Impl::CountWorkers(v1::WorkerState state) const {
  auto count = worker_counts_.find(state);
  return count == worker_counts_.end() ? 0 : count->second;
}

}  // namespace rsidiff::coordinator
