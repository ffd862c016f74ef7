#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/state/core_impl.h"
#include "coordinator/state/payload.h"

namespace rsidiff::coordinator {
namespace {

constexpr uint32_t kMaxTasks = 64;
constexpr uint32_t kMaxWaitMs = 20'000;
// Calls whose answers may still be on their way; beyond that a lost grant waits for its lease to expire.
constexpr size_t kMaxGrantedCalls = 4096;

}  // namespace

void Core::Impl::HandleLease(uint64_t event, v1::LeaseRequest request) {
  auto worker = CallingWorker(request.worker(), request.incarnation());
  if (!worker.ok()) return Answer(event, worker.status());
  auto known = FindRequest(request.request_id(), v1::LeaseRequest::descriptor()->name());
  if (!known.ok()) return Answer(event, known.status());
  if (request.max_tasks() < 1 || request.max_tasks() > kMaxTasks) {
    return Answer(event, absl::InvalidArgumentError(absl::StrCat("max_tasks has to be 1 to ", kMaxTasks, ": ",
                                                                 request.max_tasks())));
  }
  if (known->has_value()) {
    v1::LeaseResponse response;
    for (const auto& grant : (*known)->grants()) {
      TaskId task = TaskId::From(grant.task());
      if (ValidLease(grant.token(), task, **worker) == nullptr) continue;
      v1::Grant* again = response.add_grants();
      *again->mutable_task() = grant.task();
      again->set_token(grant.token());
      *again->mutable_payload() = MakePayload(runs_.at(task.run_id), task);
    }
    return AnswerLease(event, request.request_id(), std::move(response));
  }
  if (LeasePoll* poll = lease_polls_.Find(request.request_id())) {
    poll->events.push_back(event);
    return;
  }
  absl::Time deadline = now_ + absl::Milliseconds(std::min(request.wait_ms(), kMaxWaitMs));
  work_for_.insert(request.worker());
  lease_polls_.Add({std::move(request), {event}, deadline});
}

void Core::Impl::ServeLeasePolls() {
  std::optional<uint64_t> poll =
      std::exchange(work_for_everybody_, false) ? lease_polls_.After(0) : std::nullopt;
  for (; poll.has_value() && HasOpenWork(); poll = lease_polls_.After(*poll)) ServeLeasePoll(*poll);
  for (const std::string& worker : std::exchange(work_for_, {})) {
    for (uint64_t number : lease_polls_.Of(worker)) ServeLeasePoll(number);
  }
  for (uint64_t number : lease_polls_.Due(now_)) FinishLeasePoll(number, v1::LeaseResponse());
}

void Core::Impl::ServeLeasePoll(uint64_t number) {
  const v1::LeaseRequest& request = lease_polls_.at(number).request;
  auto worker = workers_.find(request.worker());
  bool asks = worker != workers_.end() && worker->second.record.state() == v1::WORKER_STATE_ACTIVE &&
              worker->second.record.incarnation() == request.incarnation();
  if (!asks) return;
  v1::LeaseResponse response = GrantTasks(worker->second, request.request_id(), request.max_tasks());
  if (!response.grants().empty()) FinishLeasePoll(number, std::move(response));
}

void Core::Impl::FinishLeasePoll(uint64_t number, v1::LeaseResponse response) {
  const LeasePoll poll = lease_polls_.Take(number);
  for (size_t i = 1; i < poll.events.size(); ++i) {
    AnswerLease(poll.events[i], poll.request.request_id(), response);
  }
  AnswerLease(poll.events.front(), poll.request.request_id(), std::move(response));
}

void Core::Impl::AnswerLease(uint64_t event, const std::string& request_id, v1::LeaseResponse response) {
  if (!response.grants().empty()) {
    granted_calls_[event] = request_id;
    if (granted_calls_.size() > kMaxGrantedCalls) granted_calls_.erase(granted_calls_.begin());
  }
  Answer(event, std::move(response));
}

void Core::Impl::HandleCancelled(uint64_t event) {
  if (!lease_polls_.Abandon(event)) TakeBackGrants(event);
}

void Core::Impl::TakeBackGrants(uint64_t event) {
  auto call = granted_calls_.find(event);
  if (call == granted_calls_.end()) return;
  const std::string request_id = std::move(call->second);
  granted_calls_.erase(call);
  for (const auto& [other, id] : granted_calls_) {
    if (id == request_id) return;
  }
  const std::optional<v1::RequestRecord> known = requests_.Find(request_id);
  if (!known.has_value()) return;
  for (const auto& grant : known->grants()) {
    auto lease = leases_.find(grant.token());
    if (lease == leases_.end() || lease->second.claimed) continue;
    EndLease(grant.token(), LeaseEnd::kReturned, "the grant could not be delivered");
  }
  // The same request is served anew, should it come again.
  requests_.Erase(request_id);
  Delete(Table::kRequests, request_id);
}

}  // namespace rsidiff::coordinator
