#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "rsidiff/v1/round.pb.h"

namespace rsidiff::coordinator {

/// How long a SCORE task waits for the worker that drew its pictures and has them in memory.
inline constexpr absl::Duration kScoreAffinity = absl::Seconds(1);
/// How long a task stays away from the worker that it last failed on while others could take it.
inline constexpr absl::Duration kAvoidLastWorker = absl::Seconds(10);

/// A pending task as one worker sees it.
struct TaskView {
  absl::Time now;
  std::string worker;            // that asks
  bool alone = false;            // no other worker takes tasks
  std::string preferred_worker;  // SCORE: drew the chunk; empty when it is gone
  absl::Time preferred_until = absl::InfinitePast();
  std::string last_worker;  // that the last attempt failed on
  absl::Time failed_at = absl::InfinitePast();
};

/// True if the task may go to the worker now.
bool MayTake(const TaskView& task);

/// A task that the worker may take: the first one of its round, kind and purpose, or the first SCORE
/// whose pictures the worker holds.
struct Candidate {
  uint32_t round = 0;
  v1::TaskKind kind = v1::TASK_KIND_UNSPECIFIED;
  v1::Purpose purpose = v1::PURPOSE_UNSPECIFIED;
  uint32_t index = 0;
  bool pictures_here = false;
  uint32_t leased_in_branch = 0;  // leases of the same round and purpose
};

/// One run's claim on the workers.
struct RunDemand {
  uint64_t run_id = 0;
  double weight = 1;
  uint32_t leased = 0;   // leases now
  uint64_t granted = 0;  // leases granted while it competed: decides where `leased` is equal
  std::vector<Candidate> candidates;
};

struct Placement {
  uint64_t run_id = 0;
  Candidate task;
  std::string reason;
};

/// Which task a free worker gets. Between runs: the one with the fewest leases for its weight, then with
/// the fewest grants for its weight, then the oldest. Within a run: training and what everything waits
/// for; scores of pictures that the worker holds; then evaluation and sampling side by side, the branch
/// with fewer leases first and the earlier round where they are equal, scores before pictures.
/// Nothing when no run has a candidate.
std::optional<Placement> Place(const std::vector<RunDemand>& runs);

}  // namespace rsidiff::coordinator
