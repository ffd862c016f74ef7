#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "rsidiff/v1/coordinator.pb.h"

namespace rsidiff::coordinator {

/// A call to Lease that waits for work.
struct LeasePoll {
  v1::LeaseRequest request;
  std::vector<uint64_t> events;
  absl::Time deadline;
};

/// The calls that wait, each under the number of its arrival, found by what the core asks for: thousands of
/// idle workers have one each.
class LeasePolls {
 public:
  void Add(LeasePoll poll);
  /// The poll with that request id, or null.
  LeasePoll* Find(const std::string& request_id);
  const LeasePoll& at(uint64_t number) const { return polls_.at(number); }
  /// The first one that arrived after `number`.
  std::optional<uint64_t> After(uint64_t number) const;
  /// Those of a worker, in the order of their arrival.
  std::vector<uint64_t> Of(const std::string& worker) const;
  /// Those that wait no longer, the earliest deadline first.
  std::vector<uint64_t> Due(absl::Time now) const;
  absl::Time NextDeadline() const;
  LeasePoll Take(uint64_t number);
  /// Nobody waits for the answer to `event` any more. False if no poll has it.
  bool Abandon(uint64_t event);

 private:
  uint64_t last_number_ = 0;
  std::map<uint64_t, LeasePoll> polls_;
  std::map<std::string, uint64_t> by_request_;
  std::map<std::string, std::set<uint64_t>> by_worker_;
  std::set<std::pair<absl::Time, uint64_t>> by_deadline_;
};

}  // namespace rsidiff::coordinator
