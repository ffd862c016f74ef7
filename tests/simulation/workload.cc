#include "tests/simulation/workload.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/simulation/worker.h"
#include "tests/unit/coordinator/core_harness.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::simulation {

using coordinator::Table;

v1::SubmitRunRequest MakeRun(Workload workload, const std::string& request_id) {
  uint32_t rounds = workload == Workload::kReference || workload == Workload::kNarrow ? 2 : 1;
  v1::SubmitRunRequest request = coordinator::SmallRun(request_id, rounds);
  v1::RunSpec& spec = *request.mutable_spec();
  switch (workload) {
    case Workload::kReference:
      break;
    case Workload::kUniform:
    case Workload::kPoison:
      spec.set_seed(workload == Workload::kPoison ? kPoisonSeed : 11);
      spec.mutable_weights()->set_method(v1::WEIGHT_METHOD_UNIFORM);
      break;
    case Workload::kNarrow:
      spec.set_seed(17);
      spec.mutable_sampling()->set_chunk(1);
      spec.mutable_train()->clear_replay();
      spec.mutable_prompts()->mutable_filter()->set_enabled(true);
      spec.mutable_prompts()->mutable_filter()->set_embedding_distance(0.1);
      spec.mutable_workers()->set_train_max(2);
      spec.mutable_stop()->set_roll_back_after(1);
      break;
  }
  return request;
}

std::string RunResult(const Disk& disk, uint64_t run_id, uint32_t shared_rounds) {
  std::string result;
  const std::string first = coordinator::RoundKey(run_id, 0);
  for (auto row = disk.lower_bound({Table::kRounds, first});
       row != disk.end() && row->first.first == Table::kRounds &&
       row->first.second.compare(0, 8, first, 0, 8) == 0;
       ++row) {
    v1::RoundRecord round;
    round.ParseFromString(row->second);
    absl::StrAppend(&result, round.round(), " ", absl::StrJoin(round.manifest_parts(), " "), " ",
                    round.checkpoint(), " ", round.evaluation().frechet());
    if (round.round() >= shared_rounds) {
      size_t samples = 0;
      const std::string& prefix = row->first.second;
      for (auto sample = disk.lower_bound({Table::kSamples, prefix});
           sample != disk.end() && sample->first.first == Table::kSamples &&
           sample->first.second.compare(0, prefix.size(), prefix) == 0;
           ++sample) {
        ++samples;
      }
      absl::StrAppend(&result, " ", samples, " samples");
    }
    absl::StrAppend(&result, "\n");
  }
  return result;
}

std::string ExpectedResult(Workload workload, uint32_t shared_rounds) {
  coordinator::CoreHarness harness;
  harness.Ok<v1::SubmitRunResponse>(MakeRun(workload, "submit"));
  harness.Work("w", harness.Register("w"));
  return RunResult(harness.disk(), 1, shared_rounds);
}

v1::RunRecord FindRun(const Disk& disk, uint64_t run_id) {
  v1::RunRecord run;
  auto row = disk.find({Table::kRuns, coordinator::RunKey(run_id)});
  if (row != disk.end()) run.ParseFromString(row->second);
  return run;
}

}  // namespace rsidiff::simulation
