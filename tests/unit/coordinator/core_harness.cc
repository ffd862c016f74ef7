#include "tests/unit/coordinator/core_harness.h"

#include <gtest/gtest.h>

#include "common/base/digest.h"
#include "common/base/protocol.h"
#include "coordinator/state/check.h"
#include "coordinator/state/judgement_block.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {

namespace {

std::optional<Judgement> JudgementOf(const std::map<std::pair<Table, std::string>, std::string>& disk,
                                     uint64_t run_id, uint32_t round, uint32_t index) {
  auto row = disk.find({Table::kJudgements, JudgementKey(run_id, round, index / kJudgementBlock)});
  if (row == disk.end()) return std::nullopt;
  const auto judgements = ParseBlock(row->second);
  if (!judgements.ok() || index % kJudgementBlock >= judgements->size()) return std::nullopt;
  return (*judgements)[index % kJudgementBlock];
}

}  // namespace

std::vector<Row> NeededRows(const std::map<std::pair<Table, std::string>, std::string>& disk) {
  std::vector<Row> rows;
  for (const auto& [where, value] : disk) {
    if (where.first == Table::kEvents) continue;
    if (where.first == Table::kPrompts) {
      v1::RunRecord run;
      run.ParseFromString(disk.at({Table::kRuns, where.second.substr(0, 8)}));
      if (HasEnded(run)) continue;
    }
    if (where.first == Table::kSamples || where.first == Table::kJudgements) {
      KeyReader key(where.second);
      uint64_t run_id = key.Take(8);
      uint32_t round_number = static_cast<uint32_t>(key.Take(4));
      const bool sample = where.first == Table::kSamples;
      auto purpose = sample ? static_cast<v1::Purpose>(key.Take(1)) : v1::PURPOSE_TRAINING;
      v1::RunRecord run;
      v1::RoundRecord round;
      run.ParseFromString(disk.at({Table::kRuns, RunKey(run_id)}));
      round.ParseFromString(disk.at({Table::kRounds, RoundKey(run_id, round_number)}));
      SamplesNeeded needed = NeededSamples(run, round.phase(), purpose);
      if (needed == SamplesNeeded::kNone) continue;
      if (sample && needed == SamplesNeeded::kSelected) {
        const auto judgement = JudgementOf(disk, run_id, round_number, static_cast<uint32_t>(key.Take(4)));
        if (!judgement.has_value() || !judgement->selected) continue;
      }
    }
    rows.push_back({where.first, where.second, value});
  }
  return rows;
}

std::vector<Row> ForkRows(const std::map<std::pair<Table, std::string>, std::string>& disk, uint64_t run_id) {
  std::vector<Row> rows;
  for (Table table : {Table::kPrompts, Table::kJudgements, Table::kSamples}) {
    auto row = disk.lower_bound({table, RunKey(run_id)});
    for (; row != disk.end() && row->first.first == table && row->first.second.substr(0, 8) == RunKey(run_id);
         ++row) {
      rows.push_back({table, row->first.second, row->second});
    }
  }
  return rows;
}

CoreHarness::CoreHarness(absl::Duration lease_ttl)
    : CoreHarness([lease_ttl] {
        CoreOptions options;
        options.lease_ttl = lease_ttl;
        return options;
      }()) {}

CoreHarness::CoreHarness(CoreOptions options) : options_(std::move(options)) {
  options_.cluster_id = "test-cluster";
  Restart();
}

void CoreHarness::Fail(const std::string& message) {
  ADD_FAILURE() << message;
}

void CoreHarness::Commit(const StepResult& result) {
  for (const std::string& artifact : result.artifacts) artifacts_[Sha256Hex(artifact)] = artifact;
  for (const RowWrite& row : result.rows) {
    if (row.value.has_value()) {
      disk_[{row.table, row.key}] = *row.value;
    } else {
      disk_.erase({row.table, row.key});
    }
  }
  for (const Reply& reply : result.replies) answers_.emplace(reply.id, reply.response);
}

void CoreHarness::Restart(absl::Duration clock_jump) {
  now_ += clock_jump;
  std::vector<Row> rows;
  for (const auto& [where, value] : disk_) rows.push_back({where.first, where.second, value});
  auto recovered = Core::Recover(options_, std::move(rows), now_);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  core_ = std::move(recovered->first);
  Commit(std::move(recovered->second));
}

void CoreHarness::RestartOn(std::map<std::pair<Table, std::string>, std::string> disk) {
  disk_ = std::move(disk);
  Restart();
}

StepResult CoreHarness::TickWithResult() {
  StepResult result = core_->Step(now_, {0, coordinator::Tick()});
  Commit(result);
  return result;
}

std::optional<absl::StatusOr<Response>> CoreHarness::Call(Request request) {
  const uint64_t id = next_id_;
  auto answer = CallOnly(std::move(request));
  while (TickIsDue()) Tick();
  if (answer.has_value() || answers_.count(id) == 0) return answer;
  return answers_.at(id);
}

std::optional<absl::StatusOr<Response>> CoreHarness::CallOnly(Request request) {
  uint64_t id = next_id_++;
  auto* fork = std::get_if<ForkRun>(&request);
  if (fork != nullptr) fork->parent = ForkRows(disk_, fork->request.run_id());
  Commit(core_->Step(now_, {id, std::move(request)}));
  auto answer = answers_.find(id);
  if (answer == answers_.end()) return std::nullopt;
  return answer->second;
}

absl::Status CoreHarness::Error(Request request) {
  auto answer = Call(std::move(request));
  if (!answer.has_value()) return absl::UnknownError("no answer");
  return answer->status();
}

v1::RunStatus CoreHarness::GetRun(uint64_t run_id) {
  v1::GetRunRequest request;
  request.set_run_id(run_id);
  return Ok<v1::RunStatus>(std::move(request));
}

void CoreHarness::Pass(absl::Duration duration) {
  absl::Time end = now_ + duration;
  while (core_->NextTimer() <= end) {
    absl::Time due = std::max(now_, core_->NextTimer());
    bool stuck = due == now_ && core_->NextTimer() < now_;
    now_ = due;
    Tick();
    ASSERT_FALSE(stuck && core_->NextTimer() < now_) << "a timer is due and nothing happens";
  }
  now_ = end;
  Tick();
}

bool CoreHarness::MemoryEqualsDisk() const {
  std::vector<Row> memory = core_->Dump();
  std::vector<Row> disk = NeededRows(disk_);
  bool equal = memory.size() == disk.size();
  for (size_t i = 0; equal && i < memory.size(); ++i) {
    equal =
        memory[i].table == disk[i].table && memory[i].key == disk[i].key && memory[i].value == disk[i].value;
  }
  return equal;
}

std::vector<v1::SampleRecord> CoreHarness::Samples(uint64_t run_id, uint32_t round) const {
  v1::RunRecord run;
  run.ParseFromString(disk_.at({Table::kRuns, RunKey(run_id)}));
  const StatisticsMap statistics(run.statistics().begin(), run.statistics().end());
  std::vector<v1::SampleRecord> samples;
  const std::string prefix = SamplePrefix(run_id, round, v1::PURPOSE_TRAINING);
  for (auto row = disk_.lower_bound({Table::kSamples, prefix});
       row != disk_.end() && row->first.first == Table::kSamples &&
       row->first.second.compare(0, prefix.size(), prefix) == 0;
       ++row) {
    v1::SampleRecord& sample = samples.emplace_back();
    sample.ParseFromString(row->second);
    const auto judgement = JudgementOf(disk_, run_id, round, sample.index());
    if (judgement.has_value()) Explain(run.spec(), statistics, *judgement, sample);
  }
  return samples;
}

absl::Status CoreHarness::CheckDisk() const {
  std::vector<Row> rows;
  for (const auto& [where, value] : disk_) rows.push_back({where.first, where.second, value});
  return ToStatus(CheckRows(rows, CheckScope::kWhole));
}

uint64_t CoreHarness::Register(const std::string& name) {
  v1::RegisterRequest request;
  request.set_request_id(RequestId());
  request.set_name(name);
  request.set_protocol_version(kProtocolVersion);
  return Ok<v1::RegisterResponse>(request).incarnation();
}

v1::LeaseRequest RequestForWork(const std::string& request_id, const std::string& worker,
                                uint64_t incarnation) {
  v1::LeaseRequest request;
  request.set_request_id(request_id);
  request.set_worker(worker);
  request.set_incarnation(incarnation);
  request.set_max_tasks(1);
  return request;
}

std::vector<v1::Grant> CoreHarness::Lease(const std::string& name, uint64_t incarnation, uint32_t max_tasks) {
  v1::LeaseRequest request = RequestForWork(RequestId(), name, incarnation);
  request.set_max_tasks(max_tasks);
  v1::LeaseResponse response = Ok<v1::LeaseResponse>(request);
  return {response.grants().begin(), response.grants().end()};
}

v1::CompleteRequest CoreHarness::Completion(const std::string& name, uint64_t incarnation,
                                            const v1::Grant& grant) {
  v1::CompleteRequest request;
  request.set_request_id(RequestId());
  request.set_worker(name);
  request.set_incarnation(incarnation);
  *request.mutable_task() = grant.task();
  request.set_token(grant.token());
  *request.mutable_result() = FakeResult(grant.payload());
  return request;
}

v1::HeartbeatResponse CoreHarness::Heartbeat(const std::string& name, uint64_t incarnation,
                                             const std::vector<v1::Grant>& held) {
  v1::HeartbeatRequest request;
  request.set_worker(name);
  request.set_incarnation(incarnation);
  for (const v1::Grant& grant : held) {
    v1::HeldLease* lease = request.add_held();
    lease->set_token(grant.token());
    *lease->mutable_task() = grant.task();
  }
  return Ok<v1::HeartbeatResponse>(request);
}

v1::JoinTrainingRequest CoreHarness::Join(const std::string& name, uint64_t incarnation,
                                          const v1::Grant& grant) {
  v1::JoinTrainingRequest request;
  request.set_request_id(RequestId());
  request.set_worker(name);
  request.set_incarnation(incarnation);
  *request.mutable_task() = grant.task();
  request.set_token(grant.token());
  request.set_store_address(name + ":1000");
  request.set_wait_ms(20'000);
  return request;
}

std::vector<v1::TaskKey> CoreHarness::Work(const std::string& name, uint64_t incarnation) {
  std::vector<v1::TaskKey> done;
  while (true) {
    std::vector<v1::Grant> grants = Lease(name, incarnation);
    if (grants.empty()) return done;
    if (grants[0].task().kind() == v1::TASK_KIND_TRAIN) {
      v1::JoinTrainingResponse joined = Ok<v1::JoinTrainingResponse>(Join(name, incarnation, grants[0]));
      EXPECT_TRUE(joined.formed());
    }
    Ok<v1::CompleteResponse>(Completion(name, incarnation, grants[0]));
    done.push_back(grants[0].task());
  }
}

}  // namespace rsidiff::coordinator
