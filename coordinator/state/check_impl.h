#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "coordinator/schedule/round_plan.h"
#include "coordinator/schedule/selection.h"
#include "coordinator/state/check.h"
#include "coordinator/state/tables.h"

namespace rsidiff::coordinator {

/// The rows as messages, and what is found about them. One file a topic: check_read.cc (rows as messages),
/// check.cc (meta, runs, rounds, workers, generations, requests), check_tasks.cc, check_samples.cc.
class DatabaseCheck {
 public:
  explicit DatabaseCheck(CheckScope scope) : scope_(scope) {}
  CheckReport Run(const std::vector<Row>& rows);

 private:
  using RoundName = std::pair<uint64_t, uint32_t>;
  using SampleSet = std::map<uint32_t, v1::SampleRecord>;

  // --- check_read.cc
  void Read(const Row& row);
  void ReadRun(const Row& row);
  void ReadRound(const Row& row);
  void ReadTask(const Row& row);
  void ReadJudgements(const Row& row);
  void ReadSample(const Row& row);
  void ReadPrompt(const Row& row);
  void ReadWorker(const Row& row);
  void ReadGeneration(const Row& row);
  void ReadRequest(const Row& row);
  void ReadEvent(const Row& row);
  template <class Message>
  bool Parse(const Row& row, Message& message);

  // --- check.cc
  void CheckMeta(bool any_rows);
  void CheckRun(const v1::RunRecord& run);
  void CheckPrompts(const v1::RunRecord& run);
  void CheckRejected(const v1::RunRecord& run);
  void CheckRound(const v1::RunRecord& run, const v1::RoundRecord& round);
  void CheckArtifactsOf(const v1::RoundRecord& round);
  void CheckArtifactsOf(const std::string& key, const std::string& text, const v1::SampleRecord& sample);
  void CheckGenerations();
  void CheckWorkers();
  void CheckRequests();

  // --- check_tasks.cc
  void CheckTasks(const v1::RunRecord& run, const v1::RoundRecord& round);
  void CheckTask(const v1::RunRecord& run, const v1::RoundRecord& round, const TaskId& id,
                 const v1::TaskRecord& task);
  void CheckState(const v1::RunRecord& run, const TaskId& id, const v1::TaskRecord& task);
  void CheckPlace(const v1::RoundRecord& round, const TaskId& id, const v1::TaskRecord& task);
  void CheckLease(const TaskId& id, const v1::TaskLease& lease);
  void CheckTaskSet(const v1::RunRecord& run, const v1::RoundRecord& round);
  void CheckProgress(const v1::RoundRecord& round);
  bool TokenIsPossible(uint64_t token) const;
  const v1::TaskRecord* FindTask(const TaskId& id) const;
  void Fault(const TaskId& id, absl::string_view what);

  // --- check_samples.cc
  void CheckSamples(const v1::RunRecord& run, const v1::RoundRecord& round, v1::Purpose purpose);
  void CheckSample(const v1::RunRecord& run, const v1::RoundRecord& round, v1::Purpose purpose,
                   const PlannedSample& planned, const v1::SampleRecord& sample);
  void CheckJudgements(const v1::RunRecord& run, const v1::RoundRecord& round);
  void CheckPresence(const v1::RunRecord& run, const v1::RoundRecord& round, v1::Purpose purpose,
                     const PlannedSample& planned, const v1::SampleRecord* sample);
  /// The samples that the round is to draw; absent when a damaged run file asks for absurdly many.
  std::optional<SamplePlan> Plan(const v1::RunRecord& run, const v1::RoundRecord& round,
                                 v1::Purpose purpose) const;

  void Fault(Table table, std::string key, std::string what);
  void Use(const std::string& digest, ArtifactUse use);
  /// A fork's rounds from before the fork: their tasks and samples are the parent's.
  static bool Inherited(const v1::RunRecord& run, const v1::RoundRecord& round);

  const CheckScope scope_;
  CheckReport report_;
  std::optional<v1::MetaRecord> meta_;
  std::map<uint64_t, v1::RunRecord> runs_;
  std::map<RoundName, v1::RoundRecord> rounds_;
  std::map<TaskId, v1::TaskRecord> tasks_;
  std::map<std::tuple<uint64_t, uint32_t, v1::Purpose>, SampleSet> samples_;
  std::map<RoundName, std::vector<Judgement>> judgements_;  // by sample index
  std::map<std::pair<uint64_t, PromptList>, std::set<uint32_t>> prompts_;
  std::map<uint64_t, std::set<uint32_t>> rejected_;  // training prompts, by run
  std::map<std::string, v1::WorkerRecord> workers_;
  std::map<RoundName, std::vector<v1::GenerationRecord>> generations_;
  std::map<std::string, v1::RequestRecord> requests_;
  uint64_t newest_event_ = 0;
  std::map<uint64_t, TaskId> tokens_;  // valid leases
};

/// "round 2 of run 1"
std::string RoundText(uint64_t run_id, uint32_t round);

}  // namespace rsidiff::coordinator
