#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "tests/simulation/invariants.h"

namespace rsidiff::simulation {

/// Kinds of small runs that differ in what they ask of the coordinator.
enum class Workload {
  kReference,  // two rounds, reference distribution, distances, replay
  kUniform,    // one round without a reference; at least two members train, if there are two workers
  kNarrow,     // two rounds, one sample a task, at most two members train
  kPoison      // as kUniform, but one of its tasks can never be done
};

v1::SubmitRunRequest MakeRun(Workload workload, const std::string& request_id);

/// What must not depend on the fleet, a line a round: digests of the manifest (so the selected samples and
/// their weights) and of the checkpoint, the Frechet distance, and the number of stored samples but for the
/// first `shared_rounds` rounds, which a fork has from its parent.
std::string RunResult(const Disk& disk, uint64_t run_id, uint32_t shared_rounds);

/// The results of a run of each kind on one worker without faults, from round `shared_rounds` on and before.
std::string ExpectedResult(Workload workload, uint32_t shared_rounds);

v1::RunRecord FindRun(const Disk& disk, uint64_t run_id);

}  // namespace rsidiff::simulation
