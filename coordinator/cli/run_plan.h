#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "rsidiff/v1/run.pb.h"

namespace rsidiff::coordinator {

/// What a run is going to do, counted before it is submitted.
struct RunPlan {
  uint32_t rounds = 0;
  uint64_t prompts_per_round = 0;
  uint64_t samples_per_round = 0;
  uint64_t kept_per_round = 0;      // at most; a gate keeps fewer
  uint64_t evaluation_samples = 0;  // of one evaluation; there is one more evaluation than rounds
  uint64_t sampling_tasks_per_round = 0;
  uint64_t evaluation_tasks = 0;
  uint64_t train_steps = 0;  // of all rounds
  uint32_t width = 0;
  uint32_t height = 0;
  uint64_t unet_calls = 0;  // forward passes of one sample (guidance counts twice), sampling and evaluation
  // Upper estimates, in bytes, of what the run leaves in the artifact store.
  uint64_t picture_bytes = 0;
  uint64_t latent_bytes = 0;
  uint64_t checkpoint_bytes = 0;
};

/// Counts from a complete spec, the number of prompts and the model folder's configuration.
/// INVALID_ARGUMENT names the configuration file that does not make sense.
absl::StatusOr<RunPlan> PlanRun(const v1::RunSpec& spec, uint64_t train_prompts, uint64_t evaluation_prompts);

/// The plan as lines of text.
std::string PlanText(const RunPlan& plan);

/// The plan as a JSON object.
std::string PlanJson(const RunPlan& plan);

}  // namespace rsidiff::coordinator
