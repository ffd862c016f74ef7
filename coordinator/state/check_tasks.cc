#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "coordinator/schedule/task_graph.h"
#include "coordinator/state/check_impl.h"
#include "coordinator/state/request_memory.h"

namespace rsidiff::coordinator {
namespace {

/// The phase that a task of this kind and purpose belongs to; UNSPECIFIED: there is no such task.
v1::RoundPhase PhaseOf(const TaskId& id) {
  bool evaluation = id.purpose == v1::PURPOSE_EVALUATION;
  if (!evaluation && id.purpose != v1::PURPOSE_TRAINING) return v1::ROUND_PHASE_UNSPECIFIED;
  switch (id.kind) {
    case v1::TASK_KIND_GENERATE:
    case v1::TASK_KIND_SCORE:
      return evaluation ? v1::ROUND_PHASE_EVALUATE : v1::ROUND_PHASE_SAMPLE;
    case v1::TASK_KIND_MOMENTS:
    case v1::TASK_KIND_FIT_REFERENCE:
      return evaluation ? v1::ROUND_PHASE_UNSPECIFIED : v1::ROUND_PHASE_REFERENCE;
    case v1::TASK_KIND_WEIGHT:
      return evaluation ? v1::ROUND_PHASE_UNSPECIFIED : v1::ROUND_PHASE_WEIGHT;
    case v1::TASK_KIND_TRAIN:
      return evaluation ? v1::ROUND_PHASE_UNSPECIFIED : v1::ROUND_PHASE_TRAIN;
    case v1::TASK_KIND_EMBED:
    case v1::TASK_KIND_FILTER:
      return evaluation ? v1::ROUND_PHASE_UNSPECIFIED : v1::ROUND_PHASE_FILTER;
    case v1::TASK_KIND_MEASURE:
      return evaluation ? v1::ROUND_PHASE_EVALUATE : v1::ROUND_PHASE_UNSPECIFIED;
    default:
      return v1::ROUND_PHASE_UNSPECIFIED;
  }
}

bool Live(v1::RoundPhase phase) {
  return PhaseOrder(phase) >= PhaseOrder(v1::ROUND_PHASE_FILTER) &&
         PhaseOrder(phase) <= PhaseOrder(v1::ROUND_PHASE_EVALUATE);
}

bool Leased(const v1::TaskRecord& task) {
  return task.state() == v1::TASK_STATE_LEASED || task.state() == v1::TASK_STATE_UNKNOWN;
}

}  // namespace

void DatabaseCheck::Fault(const TaskId& id, absl::string_view what) {
  Fault(Table::kTasks, TaskRowKey(id), absl::StrCat(id.ToString(), " ", what));
}

const v1::TaskRecord* DatabaseCheck::FindTask(const TaskId& id) const {
  auto found = tasks_.find(id);
  return found == tasks_.end() ? nullptr : &found->second;
}

bool DatabaseCheck::TokenIsPossible(uint64_t token) const {
  uint64_t epoch = token >> 40;
  bool counted = (token & ((uint64_t{1} << 40) - 1)) != 0;
  return counted && epoch >= 1 && (!meta_.has_value() || epoch <= meta_->epoch());
}

void DatabaseCheck::CheckTasks(const v1::RunRecord& run, const v1::RoundRecord& round) {
  TaskId first{run.id(), round.round(), v1::TASK_KIND_UNSPECIFIED, v1::PURPOSE_UNSPECIFIED, 0};
  for (auto task = tasks_.lower_bound(first);
       task != tasks_.end() && task->first.run_id == run.id() && task->first.round == round.round(); ++task) {
    CheckTask(run, round, task->first, task->second);
  }
  if (!Live(round.phase()) || Inherited(run, round)) return;
  CheckTaskSet(run, round);
  CheckProgress(round);
}

void DatabaseCheck::CheckTask(const v1::RunRecord& run, const v1::RoundRecord& round, const TaskId& id,
                              const v1::TaskRecord& task) {
  if (PhaseOf(id) == v1::ROUND_PHASE_UNSPECIFIED) return Fault(id, "is of no known kind and purpose");
  if (Inherited(run, round)) Fault(id, "belongs to a round from before the fork");
  CheckState(run, id, task);
  CheckPlace(round, id, task);
  if (id.kind == v1::TASK_KIND_TRAIN) {
    for (const v1::TaskLease& member : task.gang()) CheckLease(id, member);
  } else if (task.token() != 0) {
    v1::TaskLease lease;
    lease.set_token(task.token());
    lease.set_worker(task.worker());
    lease.set_incarnation(task.incarnation());
    CheckLease(id, lease);
  }
}

void DatabaseCheck::CheckState(const v1::RunRecord& run, const TaskId& id, const v1::TaskRecord& task) {
  if (task.state() < v1::TASK_STATE_PENDING || task.state() > v1::TASK_STATE_FAILED) {
    return Fault(id, absl::StrCat("is in no known state: ", task.state()));
  }
  bool train = id.kind == v1::TASK_KIND_TRAIN;
  bool held = train ? !task.gang().empty() : task.token() != 0;
  if (train ? task.token() != 0 : !task.gang().empty()) Fault(id, "has a lease of the wrong kind");
  if (Leased(task) != held) Fault(id, held ? "has a lease and is not leased" : "is leased and has no lease");
  if (task.state() == v1::TASK_STATE_DONE && !IsDigest(task.result_digest())) {
    Fault(id, "is done and has no digest of its result");
  }
  if (task.request_id().size() > kMaxRequestIdLength) Fault(id, "is done by what is not a request id");
  if (task.state() == v1::TASK_STATE_FAILED && run.state() != v1::RUN_STATE_FAILED) {
    Fault(id, "has failed, and its run has not");
  }
  bool ended = run.state() != v1::RUN_STATE_ACTIVE && run.state() != v1::RUN_STATE_PAUSED;
  if (ended && Leased(task)) Fault(id, "is leased, and its run has ended");
}

void DatabaseCheck::CheckPlace(const v1::RoundRecord& round, const TaskId& id, const v1::TaskRecord& task) {
  const int own = PhaseOrder(PhaseOf(id));
  const int now = PhaseOrder(round.phase());
  bool done = task.state() == v1::TASK_STATE_DONE;
  if (Live(round.phase()) && own > now) Fault(id, "is of a phase that has not begun");
  if (Live(round.phase()) && own < now && !done) Fault(id, "is not done, and its phase is over");
  if (round.phase() == v1::ROUND_PHASE_DONE && !done) Fault(id, "is not done, and its round is");
  if (id.kind == v1::TASK_KIND_SCORE && task.state() != v1::TASK_STATE_PENDING) {
    TaskId pictures = id;
    pictures.kind = v1::TASK_KIND_GENERATE;
    const v1::TaskRecord* generate = FindTask(pictures);
    if (generate == nullptr || generate->state() != v1::TASK_STATE_DONE) {
      Fault(id, "was begun before its pictures were there");
    }
  }
}

void DatabaseCheck::CheckLease(const TaskId& id, const v1::TaskLease& lease) {
  if (!TokenIsPossible(lease.token())) {
    Fault(id, absl::StrCat("has token ", lease.token(), ", which was never issued"));
  }
  auto [other, first] = tokens_.emplace(lease.token(), id);
  if (!first) {
    Fault(id,
          absl::StrCat("has token ", lease.token(), ", which is that of ", other->second.ToString(), " too"));
  }
  auto worker = workers_.find(lease.worker());
  if (worker == workers_.end())
    return Fault(id, absl::StrCat("is leased to no known worker: ", lease.worker()));
  if (worker->second.incarnation() != lease.incarnation()) {
    Fault(id, absl::StrCat("is leased to incarnation ", lease.incarnation(), " of worker ", lease.worker(),
                           ", which is at ", worker->second.incarnation()));
  }
  if (worker->second.state() != v1::WORKER_STATE_ACTIVE &&
      worker->second.state() != v1::WORKER_STATE_DRAINING) {
    Fault(id, absl::StrCat("is leased to worker ", lease.worker(), ", which is gone"));
  }
}

void DatabaseCheck::CheckTaskSet(const v1::RunRecord& run, const v1::RoundRecord& round) {
  auto expect = [&](v1::TaskKind kind, v1::Purpose purpose, uint32_t count) {
    TaskId id{run.id(), round.round(), kind, purpose, 0};
    for (; id.index < count; ++id.index) {
      if (FindTask(id) == nullptr) Fault(id, "is missing");
    }
    auto next = tasks_.lower_bound(id);
    bool beyond = next != tasks_.end() && next->first.run_id == id.run_id && next->first.round == id.round &&
                  next->first.kind == kind && next->first.purpose == purpose;
    if (beyond) Fault(next->first, absl::StrCat("is beyond the round's ", count));
  };
  auto chunks = [&](v1::Purpose purpose) {
    auto plan = Plan(run, round, purpose);
    if (!plan.has_value()) return;  // CheckSamples tells it
    uint32_t count = ChunkCount(plan->size(), run.spec().sampling().chunk());
    expect(v1::TASK_KIND_GENERATE, purpose, count);
    expect(v1::TASK_KIND_SCORE, purpose, count);
  };
  auto reference = [&] {
    const TaskId moments{run.id(), round.round(), v1::TASK_KIND_MOMENTS, v1::PURPOSE_TRAINING, 0};
    TaskId fit = moments;
    fit.kind = v1::TASK_KIND_FIT_REFERENCE;
    const bool fitting = FindTask(fit) != nullptr;
    auto plan = Plan(run, round, v1::PURPOSE_TRAINING);
    if (!plan.has_value()) return;
    // An earlier version fitted without moments.
    const bool by_moments = NeedsMoments(run.spec()) && !(fitting && FindTask(moments) == nullptr);
    expect(v1::TASK_KIND_MOMENTS, v1::PURPOSE_TRAINING,
           by_moments ? MomentsTasks(run.spec(), plan->size()) : 0);
    const bool due = round.phase() != v1::ROUND_PHASE_REFERENCE || !by_moments;
    if (fitting || due) expect(v1::TASK_KIND_FIT_REFERENCE, v1::PURPOSE_TRAINING, 1);
  };
  auto tasks_of = [&](v1::RoundPhase phase) {
    switch (phase) {
      case v1::ROUND_PHASE_FILTER:
        expect(v1::TASK_KIND_EMBED, v1::PURPOSE_TRAINING, ChunkCount(run.train_prompt_count(), kEmbedBlock));
        if (round.phase() != v1::ROUND_PHASE_FILTER) {
          expect(v1::TASK_KIND_FILTER, v1::PURPOSE_TRAINING, 1);
        }
        return;
      case v1::ROUND_PHASE_SAMPLE:
        return chunks(v1::PURPOSE_TRAINING);
      case v1::ROUND_PHASE_REFERENCE:
        return reference();
      case v1::ROUND_PHASE_WEIGHT:
        if (!NeedsReference(run.spec())) return expect(v1::TASK_KIND_WEIGHT, v1::PURPOSE_TRAINING, 0);
        return expect(
            v1::TASK_KIND_WEIGHT, v1::PURPOSE_TRAINING,
            ChunkCount(std::min(round.selection().selected(), round.selection().samples()), kWeightBlock));
      case v1::ROUND_PHASE_TRAIN:
        return expect(v1::TASK_KIND_TRAIN, v1::PURPOSE_TRAINING, 1);
      case v1::ROUND_PHASE_EVALUATE:
        return chunks(v1::PURPOSE_EVALUATION);
      default:
        return;
    }
  };
  v1::RoundPhase phase = FirstPhase(run.spec(), round.round());
  tasks_of(phase);
  while (phase != round.phase() && phase != v1::ROUND_PHASE_DONE) {
    phase = NextPhase(run.spec(), round.round(), phase);
    tasks_of(phase);
  }
}

void DatabaseCheck::CheckProgress(const v1::RoundRecord& round) {
  if (round.phase() == v1::ROUND_PHASE_EVALUATE) return;  // may wait for round 0's features
  if (round.phase() == v1::ROUND_PHASE_WEIGHT) return;    // the core makes weights of the distances
  TaskId first{round.run_id(), round.round(), v1::TASK_KIND_UNSPECIFIED, v1::PURPOSE_UNSPECIFIED, 0};
  bool any = false;
  for (auto task = tasks_.lower_bound(first);
       task != tasks_.end() && task->first.run_id == round.run_id() && task->first.round == round.round();
       ++task) {
    if (PhaseOf(task->first) != round.phase()) continue;
    if (task->second.state() != v1::TASK_STATE_DONE) return;
    if (task->second.has_filter()) return;  // the core applies it
    any = true;
  }
  if (any) {
    Fault(Table::kRounds, RoundKey(round.run_id(), round.round()),
          absl::StrCat(RoundText(round.run_id(), round.round()),
                       " stays in its phase, and all tasks of it are done"));
  }
}

}  // namespace rsidiff::coordinator
