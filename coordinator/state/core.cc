#include "coordinator/state/core.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "coordinator/state/core_impl.h"
#include "coordinator/state/judgement_block.h"

namespace rsidiff::coordinator {
namespace {

// More than the steps add: what a run that ends leaves behind comes of age at once, and is no long step.
constexpr size_t kForgottenAStep = 1000;

template <class... Handlers>
struct Overloaded : Handlers... {
  using Handlers::operator()...;
};
template <class... Handlers>
Overloaded(Handlers...) -> Overloaded<Handlers...>;

}  // namespace

Core::Core(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Core::~Core() = default;

absl::StatusOr<std::pair<std::unique_ptr<Core>, StepResult>> Core::Recover(CoreOptions options,
                                                                           std::vector<Row> rows,
                                                                           absl::Time now) {
  auto impl = std::make_unique<Impl>(std::move(options));
  RSIDIFF_ASSIGN_OR_RETURN(StepResult result, impl->Recover(std::move(rows), now));
  return std::make_pair(std::unique_ptr<Core>(new Core(std::move(impl))), std::move(result));
}

StepResult Core::Step(absl::Time now, Event event) {
  return impl_->Step(now, std::move(event));
}
absl::Time Core::NextTimer() const {
  return impl_->NextTimer();
}
bool Core::NextTickNamesArtifacts() const {
  return impl_->NextTickNamesArtifacts();
}
const CoreStatistics& Core::statistics() const {
  return impl_->statistics();
}
std::vector<Row> Core::Dump() const {
  return impl_->Dump();
}

StepResult Core::Impl::Step(absl::Time now, Event event) {
  ForgiveStall(now);
  now_ = std::max(now_, now);
  PassTime();
  Dispatch(std::move(event));
  ServeWaiting();
  return TakeResult();
}

void Core::Impl::Dispatch(Event event) {
  uint64_t id = event.id;
  std::visit(Overloaded{[&](const Tick&) { ContinueReduction(); },
                        [&](const Cancelled& call) { HandleCancelled(call.id); },
                        [&](v1::LeaseRequest& request) { HandleLease(id, std::move(request)); },
                        [&](const v1::JoinTrainingRequest& request) { HandleJoin(id, request); },
                        [&](const auto& request) { Answer(id, Handle(request)); }},
             event.request);
}

void Core::Impl::ForgiveStall(absl::Time now) {
  // NextTimer asks for a step every sixth of a lease's life. When none came for twice that, this process
  // did not run, or its disk did not answer: it could not hear the workers, so the time does not count.
  absl::Duration silence = now - now_;
  if (silence <= options_.lease_ttl / 3) return;
  for (auto& [name, worker] : workers_) {
    if (worker.alive()) worker.seen += silence;
  }
  for (auto& [token, lease] : leases_) lease.deadline += silence;
  heard_since_ = now;
  // Without workers no step is asked for, and silence tells nothing.
  if (CountWorkers(v1::WORKER_STATE_ACTIVE) + CountWorkers(v1::WORKER_STATE_DRAINING) > 0) {
    requests_.Forgive(silence);
  }
}

void Core::Impl::PassTime() {
  ExpireWorkers();
  ExpireLeases();
  WakeTasks();
  ForgetOldRequests();
}

void Core::Impl::ServeWaiting() {
  ServeTraining();
  ServeLeasePolls();
}

StepResult Core::Impl::TakeResult() {
  StepResult result;
  result.artifacts = std::exchange(artifacts_, {});
  for (auto& [where, value] : std::exchange(rows_, {})) {
    result.rows.push_back({where.first, where.second, std::move(value)});
  }
  result.name_artifacts = std::exchange(name_artifacts_, false);
  result.sync = std::exchange(sync_, false);
  result.replies = std::exchange(replies_, {});
  return result;
}

absl::Time Core::Impl::NextTimer() const {
  if (!reducing_.empty() || !discarded_.empty() || !thinning_.empty()) return now_;
  absl::Time next = absl::InfiniteFuture();
  if (CountWorkers(v1::WORKER_STATE_ACTIVE) + CountWorkers(v1::WORKER_STATE_DRAINING) > 0) {
    next = std::min(workers_due_, now_ + options_.lease_ttl / 6);
  }
  if (!leases_.empty()) next = std::min(next, leases_due_);
  next = std::min(next, lease_polls_.NextDeadline());
  if (!wakeups_.empty()) next = std::min(next, wakeups_.begin()->first);
  for (const auto& [run_id, round] : joining_) {
    const Training& training = runs_.at(run_id).rounds.at(round).training;
    absl::Time window = training.first_join + options_.join_window;
    if (window > now_) next = std::min(next, window);
    for (const auto& [token, joiner] : training.joiners) {
      for (const JoinPoll& poll : joiner.polls) next = std::min(next, poll.deadline);
    }
  }
  return next;
}

void Core::Impl::Put(Table table, std::string key, const google::protobuf::MessageLite& message) {
  // Rows mostly come in key order.
  rows_.insert_or_assign(rows_.end(), std::make_pair(table, std::move(key)), DeterministicBytes(message));
}

void Core::Impl::Delete(Table table, std::string key) {
  rows_[{table, std::move(key)}] = std::nullopt;
}

void Core::Impl::PutRun(const Run& run) {
  Put(Table::kRuns, RunKey(run.id()), run.record);
  sync_ = true;
}

void Core::Impl::PutRound(const Round& round) {
  Put(Table::kRounds, RoundKey(round.record.run_id(), round.record.round()), round.record);
  sync_ = true;
}

void Core::Impl::PutTask(const Task& task) {
  Put(Table::kTasks, TaskRowKey(TaskId::From(task.record.key())), task.record);
}

void Core::Impl::PutWorker(const Worker& worker) {
  Put(Table::kWorkers, worker.record.name(), worker.record);
  sync_ = true;
}

void Core::Impl::PutSample(const Round& round, v1::Purpose purpose, const v1::SampleRecord& sample) {
  Put(Table::kSamples, SampleKey(round.record.run_id(), round.record.round(), purpose, sample.index()),
      sample);
}

void Core::Impl::PutJudgements(const Round& round, uint32_t first, uint32_t last) {
  for (uint32_t block = first / kJudgementBlock; block <= last / kJudgementBlock; ++block) {
    Put(Table::kJudgements, JudgementKey(round.record.run_id(), round.record.round(), block),
        ToBlock(BlockOf(round.judgements, block)));
  }
}

void Core::Impl::Answer(uint64_t event, absl::StatusOr<Response> response) {
  replies_.push_back({event, std::move(response)});
}

void Core::Impl::Log(uint64_t run_id, uint32_t round, absl::string_view worker, std::string text) {
  v1::EventRecord event;
  event.set_sequence(meta_.next_event());
  event.set_time_us(NowMicros());
  event.set_run_id(run_id);
  event.set_round(round);
  event.set_worker(std::string(worker));
  event.set_text(std::move(text));
  Put(Table::kEvents, EventKey(event.sequence()), event);
  meta_.set_next_event(meta_.next_event() + 1);
  Put(Table::kMeta, std::string(kMetaKey), meta_);
}

void Core::Impl::Warn(Run& run, uint32_t round, std::string text) {
  v1::RunWarning& warning = *run.record.add_warnings();
  warning.set_round(round);
  warning.set_text(text);
  PutRun(run);
  Log(run.id(), round, "", std::move(text));
}

absl::StatusOr<std::optional<v1::RequestRecord>> Core::Impl::FindRequest(const std::string& request_id,
                                                                         absl::string_view method) const {
  if (request_id.empty() || request_id.size() > kMaxRequestIdLength) {
    return absl::InvalidArgumentError(absl::StrCat("request_id has to have 1 to ", kMaxRequestIdLength,
                                                   " characters, not ", request_id.size()));
  }
  std::optional<v1::RequestRecord> known = requests_.Find(request_id);
  if (known.has_value() && known->method() != method) {
    return absl::InvalidArgumentError(
        absl::StrCat("request_id was used for ", known->method(), " before: ", request_id));
  }
  return known;
}

void Core::Impl::RememberRequest(const std::string& request_id, v1::RequestRecord record) {
  record.set_time_us(NowMicros());
  rows_[{Table::kRequests, request_id}] = requests_.Add(request_id, record, now_);
}

void Core::Impl::RememberCompletion(const std::string& request_id) {
  v1::RequestRecord record;
  record.set_method(v1::CompleteRequest::descriptor()->name());
  RememberRequest(request_id, std::move(record));
}

void Core::Impl::ForgetOldRequests() {
  for (std::string& id : requests_.Forget(now_, kForgottenAStep)) Delete(Table::kRequests, std::move(id));
}

}  // namespace rsidiff::coordinator
