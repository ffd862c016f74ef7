#include "coordinator/state/request_memory.h"

#include <algorithm>
#include <utility>

#include "coordinator/state/tables.h"
#include "rsidiff/v1/coordinator.pb.h"

namespace rsidiff::coordinator {

std::optional<v1::RequestRecord> RequestMemory::Find(const std::string& id) const {
  auto found = answers_.find(id);
  if (found == answers_.end()) return std::nullopt;
  v1::RequestRecord record;
  record.ParseFromString(found->second.record);
  return record;
}

const std::string& RequestMemory::Add(const std::string& id, const v1::RequestRecord& record,
                                      absl::Time since) {
  Answer& answer = answers_[id];
  answer.record = DeterministicBytes(record);
  answer.number = ++last_number_;
  answer.brief = record.method() == v1::CompleteRequest::descriptor()->name();
  young_.push_back({since, answer.number, id});
  return answer.record;
}

void RequestMemory::Arrived(const std::string& id) {
  auto found = answers_.find(id);
  if (found != answers_.end()) found->second.brief = true;
}

void RequestMemory::Erase(const std::string& id) {
  answers_.erase(id);
}

void RequestMemory::Renew(absl::Time now) {
  std::stable_sort(young_.begin(), young_.end(),
                   [](const Age& a, const Age& b) { return a.since < b.since; });
  for (Age& age : young_) age.since = now;
}

void RequestMemory::Forgive(absl::Duration silence) {
  for (std::deque<Age>* ages : {&young_, &old_}) {
    for (Age& age : *ages) age.since += silence;
  }
}

std::optional<RequestMemory::Age> RequestMemory::TakeOldest(std::deque<Age>& ages) {
  Age age = std::move(ages.front());
  ages.pop_front();
  auto answer = answers_.find(age.id);
  if (answer == answers_.end() || answer->second.number != age.number) return std::nullopt;
  return age;
}

std::vector<std::string> RequestMemory::Forget(absl::Time now, size_t most) {
  std::vector<std::string> forgotten;
  while (forgotten.size() < most && !young_.empty() && young_.front().since + kBriefMemory < now) {
    std::optional<Age> age = TakeOldest(young_);
    if (!age.has_value()) continue;
    if (answers_.at(age->id).brief) {
      answers_.erase(age->id);
      forgotten.push_back(std::move(age->id));
    } else {
      old_.push_back(*std::move(age));
    }
  }
  while (forgotten.size() < most && !old_.empty() && old_.front().since + kRequestMemory < now) {
    std::optional<Age> age = TakeOldest(old_);
    if (!age.has_value()) continue;
    answers_.erase(age->id);
    forgotten.push_back(std::move(age->id));
  }
  return forgotten;
}

}  // namespace rsidiff::coordinator
