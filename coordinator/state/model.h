#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/digest.h"
#include "coordinator/schedule/round_plan.h"
#include "coordinator/schedule/selection.h"
#include "coordinator/schedule/task_graph.h"
#include "coordinator/schedule/weights.h"
#include "coordinator/state/manifest.h"
#include "coordinator/state/tables.h"
#include "coordinator/state/task_id.h"
#include "rsidiff/v1/coordinator.pb.h"
#include "rsidiff/v1/round.pb.h"

namespace rsidiff::coordinator {

// What the core holds in memory: the stored records, and beside them what is derived at a start.

/// A round's samples of one purpose, by index.
using SampleMap = std::map<uint32_t, v1::SampleRecord>;

/// A task:
///
///             grant                 result
///   PENDING ---------> LEASED ------------------> DONE
///      ^  ^  expiry,     |  \                        ^
///      |  |  return,     |   \ error budget spent    |
///      |  +--- error ----+    +--------> FAILED      | result
///      |                 | coordinator restart       |
///      |     grace over  v          re-asserted      |
///      +------------- UNKNOWN ---> LEASED            |
///                        +---------------------------+
struct Task {
  v1::TaskRecord record;
  std::string preferred_worker;  // SCORE: has the pictures in memory
  absl::Time preferred_until = absl::InfinitePast();
  absl::Time failed_at = absl::InfinitePast();
};

/// Tasks of one round, kind and purpose.
struct TaskGroup {
  uint32_t total = 0;
  uint32_t done = 0;
  uint32_t leased = 0;  // or UNKNOWN
  uint32_t failed = 0;
  std::set<uint32_t> ready;  // PENDING, what they need is there, no back-off, and not kept for one worker
  // SCORE: those whose pictures an active worker has in memory, by its name. They are in `ready` too once
  // the time that they are kept for it is over.
  std::map<std::string, std::set<uint32_t>> kept_for;
};
using GroupKey = std::pair<v1::TaskKind, v1::Purpose>;

struct Lease {
  uint64_t token = 0;
  TaskId task;
  std::string worker;
  uint64_t incarnation = 0;
  std::string request_id;  // that it was granted to; empty after a restart
  absl::Time deadline;
  bool unknown = false;  // not asserted again since a restart
  bool claimed = false;  // the worker has named it: the grant arrived
  uint64_t step = 0;     // training
  double loss = 0;
};

/// A call to JoinTraining that waits for a generation.
struct JoinPoll {
  std::string request_id;
  std::vector<uint64_t> events;
  absl::Time deadline;
};

struct JoiningWorker {
  v1::GenerationRecord::Member member;
  std::vector<std::string> refused_checkpoints;
  std::vector<JoinPoll> polls;
};

struct Training {
  /// The newest ones are enough: an unlucky training forms generations without end.
  static constexpr size_t kKeptGenerations = 100;

  std::vector<v1::GenerationRecord> generations;
  std::map<uint64_t, JoiningWorker> joiners;  // by token
  absl::Time first_join = absl::InfiniteFuture();
  std::string waiting;         // why no generation is formed, as last logged
  bool lacks_workers = false;  // that is since fewer than train_min have joined

  /// How many generations were formed, kept or not. Earlier versions stored no number and kept all.
  uint32_t generation_count() const {
    const auto kept = static_cast<uint32_t>(generations.size());
    return generations.empty() ? 0 : std::max(kept, generations.back().number());
  }
};

/// The selection of a round's samples under way, a slice a step. Only in memory, as Weighing: after a restart
/// it starts anew, and comes to the same end (reduce.cc).
struct Selecting {
  explicit Selecting(const v1::RunSpec& spec) : scores(ScorersFor(spec, v1::PURPOSE_TRAINING)), tally(spec) {}

  enum class Stage { kStatistics, kSelect };
  Stage stage = Stage::kStatistics;
  uint32_t next = 0;  // index of the first sample of the next slice
  ScoreColumns scores;
  StatisticsMap statistics;
  SelectionTally tally;
};

/// The computation of a round's weights under way.
struct Weighing {
  enum class Stage { kGather, kCompute, kStore, kReplay, kFinish };
  Stage stage = Stage::kGather;
  size_t next = 0;  // position in Round.selected
  std::vector<WeightInput> inputs;
  double distance_sum = 0;
  std::optional<WeightComputation> computation;
  SampleWeights weights;
  std::vector<uint32_t> replayed;  // rounds whose samples are to be replayed, newest first
  ManifestParts manifest;
};

/// The application of the embedding filter's result under way.
struct Filtering {
  int next = 0;       // position in the result
  std::string lines;  // of the artifact, so far
  Sha256 digest;      // of the lines
};

struct Round {
  v1::RoundRecord record;
  std::map<v1::Purpose, SamplePlan> plan;
  std::map<v1::Purpose, SampleMap> samples;  // see NeededSamples()
  std::vector<Judgement> judgements;  // of the training samples, by index, as far as they are selected from
  std::vector<uint32_t> selected;     // indices of the training samples that are trained on, ascending
  std::map<TaskId, Task> tasks;
  std::map<GroupKey, TaskGroup> groups;
  Training training;
  std::unique_ptr<Filtering> filtering;
  std::unique_ptr<Selecting> selecting;
  std::unique_ptr<Weighing> weighing;

  bool IsSelected(uint32_t index) const { return index < judgements.size() && judgements[index].selected; }
};

struct Run {
  v1::RunRecord record;
  // Empty once the run has ended.
  std::vector<std::string> train_prompts;
  std::vector<bool> rejected;   // of train_prompts: no round draws samples of it
  std::vector<uint32_t> order;  // PromptOrder of the others, once a round is planned: hashing takes its time
  std::vector<std::string> evaluation_prompts;
  std::map<uint32_t, Round> rounds;
  double best_score = 0;
  uint32_t leased = 0;
  uint64_t granted = 0;
  std::string last_error;

  uint64_t id() const { return record.id(); }
  /// Ids of the training prompts that rounds draw from.
  std::vector<uint32_t> Pool() const {
    std::vector<uint32_t> pool;
    for (uint32_t i = 0; i < rejected.size(); ++i) {
      if (!rejected[i]) pool.push_back(i);
    }
    return pool;
  }
  bool ended() const { return HasEnded(record); }
};

/// A prompt's row.
v1::PromptRecord PromptRow(const Run& run, PromptList list, uint32_t index);

/// A worker:
///
///   register         drain             last lease ends, or deadline
///   --------> ACTIVE -----> DRAINING ------------------------------> DRAINED
///               |              |
///               +--------------+---- not heard of for a lease's life ----> LOST
struct Worker {
  v1::WorkerRecord record;
  absl::Time seen;
  std::set<uint64_t> tokens;

  bool alive() const {
    return record.state() == v1::WORKER_STATE_ACTIVE || record.state() == v1::WORKER_STATE_DRAINING;
  }
};

}  // namespace rsidiff::coordinator
