#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "rsidiff/v1/run.pb.h"

namespace rsidiff::coordinator {

/// A GPU as an estimate sees it: peak rates in TFLOP/s, and the share of them that the work is taken to
/// reach. The default is NVIDIA's data sheet of the H100 SXM (dense; fp32 without tensor cores) and what
/// public benchmarks of Stable Diffusion reach of their GPU's peak.
struct GpuRate {
  double half_tflops = 989;   // bf16 and fp16
  double single_tflops = 67;  // fp32
  double utilization = 0.3;
};

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
  // Forward passes of one sample (guidance counts twice), sampling and evaluation. PNDM makes more than
  // steps.
  uint64_t unet_calls = 0;
  // Upper estimates, in bytes, of what the run leaves in the artifact store.
  uint64_t picture_bytes = 0;
  uint64_t latent_bytes = 0;
  uint64_t checkpoint_bytes = 0;
  uint64_t training_state_bytes = 0;  // of which `rsidiff-coordinator prune` leaves the newest
  // Floating point operations of the whole run (model_flops.h).
  double sampling_flops = 0;  // text encoder, UNet
  double decoding_flops = 0;  // VAE decoder
  double scoring_flops = 0;
  double training_flops = 0;
  std::vector<std::string> not_counted;  // scorers whose work is not in scoring_flops
  GpuRate gpu;
  double gpu_hours = 0;
};

/// How many prompts a run has.
struct PromptCounts {
  uint64_t train = 0;
  uint64_t evaluation = 0;
};

/// Counts from a complete spec, the numbers of prompts and the model folders' configurations, and estimates
/// the time on such a GPU. INVALID_ARGUMENT names the configuration file that does not make sense, or says
/// that round 1 has too few samples for weights.neighbours.
absl::StatusOr<RunPlan> PlanRun(const v1::RunSpec& spec, const PromptCounts& prompts, const GpuRate& gpu);

/// The plan as lines of text.
std::string PlanText(const RunPlan& plan);

/// The plan as a JSON object.
std::string PlanJson(const RunPlan& plan);

}  // namespace rsidiff::coordinator
