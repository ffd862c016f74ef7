#include "coordinator/state/lease_polls.h"

#include <algorithm>

namespace rsidiff::coordinator {

void LeasePolls::Add(LeasePoll poll) {
  const uint64_t number = ++last_number_;
  by_request_[poll.request.request_id()] = number;
  by_worker_[poll.request.worker()].insert(number);
  by_deadline_.emplace(poll.deadline, number);
  polls_.emplace(number, std::move(poll));
}

LeasePoll* LeasePolls::Find(const std::string& request_id) {
  auto found = by_request_.find(request_id);
  return found == by_request_.end() ? nullptr : &polls_.at(found->second);
}

std::optional<uint64_t> LeasePolls::After(uint64_t number) const {
  auto next = polls_.upper_bound(number);
  if (next == polls_.end()) return std::nullopt;
  return next->first;
}

std::vector<uint64_t> LeasePolls::Of(const std::string& worker) const {
  auto found = by_worker_.find(worker);
  if (found == by_worker_.end()) return {};
  return {found->second.begin(), found->second.end()};
}

std::vector<uint64_t> LeasePolls::Due(absl::Time now) const {
  std::vector<uint64_t> due;
  for (const auto& [deadline, number] : by_deadline_) {
    if (deadline > now) break;
    due.push_back(number);
  }
  return due;
}

absl::Time LeasePolls::NextDeadline() const {
  return by_deadline_.empty() ? absl::InfiniteFuture() : by_deadline_.begin()->first;
}

LeasePoll LeasePolls::Take(uint64_t number) {
  auto found = polls_.find(number);
  LeasePoll poll = std::move(found->second);
  polls_.erase(found);
  by_request_.erase(poll.request.request_id());
  by_deadline_.erase({poll.deadline, number});
  auto worker = by_worker_.find(poll.request.worker());
  worker->second.erase(number);
  if (worker->second.empty()) by_worker_.erase(worker);
  return poll;
}

bool LeasePolls::Abandon(uint64_t event) {
  for (auto& [number, poll] : polls_) {
    auto waits = std::find(poll.events.begin(), poll.events.end(), event);
    if (waits == poll.events.end()) continue;
    poll.events.erase(waits);
    if (poll.events.empty()) Take(number);
    return true;
  }
  return false;
}

}  // namespace rsidiff::coordinator
