#include "coordinator/cli/run_plan.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/run/distance.h"
#include "common/scorer/scorer_family.h"
#include "coordinator/cli/model_config.h"
#include "coordinator/cli/model_flops.h"
#include "coordinator/cli/run_text.h"
#include "coordinator/cli/scheduler_calls.h"

namespace rsidiff::coordinator {
namespace {

constexpr uint32_t kLatentChannels = 4;
constexpr uint64_t kLatentBytes = 4;  // fp32, whatever the run computes in
// In forward passes: the backward pass multiplies twice as often.
constexpr double kForwardAndBackward = 3;

uint64_t CeilDivide(uint64_t a, uint64_t b) {
  return b == 0 ? 0 : (a + b - 1) / b;
}

struct Geometry {
  uint32_t sample_size = 0;   // of the UNet, in latent pixels
  uint32_t scale_factor = 8;  // pixels a latent pixel, from the number of the VAE's blocks
};

absl::StatusOr<Geometry> ReadGeometry(const std::filesystem::path& model) {
  RSIDIFF_ASSIGN_OR_RETURN(const nlohmann::json unet, ReadModelConfig(model / "unet/config.json"));
  RSIDIFF_ASSIGN_OR_RETURN(const nlohmann::json vae, ReadModelConfig(model / "vae/config.json"));
  const auto size = unet.find("sample_size");
  if (size == unet.end() || !size->is_number_unsigned() || size->get<uint64_t>() > 4096) {
    return absl::InvalidArgumentError(
        absl::StrCat("sample_size is no number up to 4096: ", (model / "unet/config.json").string()));
  }
  const auto blocks = vae.find("block_out_channels");
  if (blocks == vae.end() || !blocks->is_array() || blocks->empty() || blocks->size() > 8) {
    return absl::InvalidArgumentError(
        absl::StrCat("block_out_channels is no list of 1 to 8: ", (model / "vae/config.json").string()));
  }
  return Geometry{size->get<uint32_t>(), 1u << (blocks->size() - 1)};
}

// Size of the UNet's weights, in one file or in shards (NAME-00001-of-00002.safetensors).
uint64_t UnetBytes(const std::filesystem::path& model) {
  std::error_code error;
  const uint64_t whole =
      std::filesystem::file_size(model / "unet/diffusion_pytorch_model.safetensors", error);
  if (!error) return whole;
  uint64_t shards = 0;
  for (const auto& entry : std::filesystem::directory_iterator(model / "unet", error)) {
    const std::string name = entry.path().filename().string();
    if (!absl::EndsWith(name, ".safetensors") || !absl::StrContains(name, "-of-")) continue;
    std::error_code no_size;
    const uint64_t bytes = entry.file_size(no_size);
    if (!no_size) shards += bytes;
  }
  return shards;
}

uint64_t CheckpointBytes(const v1::RunSpec& spec) {
  const uint64_t model = UnetBytes(spec.model().path());
  if (spec.train().method() != v1::TRAIN_METHOD_LORA) return spec.rounds() * model;
  // An adapter of rank 32 is less than a hundredth of its model, and grows with the rank.
  return spec.rounds() * CeilDivide(model * spec.train().lora().rank(), 3200);
}

// The trained parameters, AdamW's two moments, and the moving average where there is one.
uint64_t TrainingStateParts(const v1::RunSpec& spec) {
  return spec.train().ema_decay() > 0 ? 4 : 3;
}

// None is written after the last step: that is the checkpoint.
uint64_t TrainingStatesOfARound(const v1::RunSpec& spec) {
  return (uint64_t{spec.train().steps()} - 1) / spec.train().checkpoint_every();
}

uint64_t UnetPasses(uint64_t samples, uint64_t calls, double guidance_scale) {
  return samples * calls * (guidance_scale > 1 ? 2 : 1);
}

struct Drawn {
  uint64_t training = 0;    // samples of all rounds
  uint64_t evaluation = 0;  // samples of all evaluations
};

Drawn SamplesDrawn(const RunPlan& plan) {
  return {plan.rounds * plan.samples_per_round, (uint64_t{plan.rounds} + 1) * plan.evaluation_samples};
}

double Rate(v1::Precision precision, const GpuRate& gpu) {
  const bool half = precision == v1::PRECISION_BF16 || precision == v1::PRECISION_FP16;
  return (half ? gpu.half_tflops : gpu.single_tflops) * 1e12 * gpu.utilization;
}

struct ScoringWork {
  double flops = 0;                      // of one sample
  std::vector<std::string> not_counted;  // scorers
};

/// Each folder's image tower runs once a picture; a text tower once a sample, at most.
ScoringWork CountScoring(const v1::RunSpec& spec, v1::ScorerRole judges) {
  std::set<std::string> images;
  std::set<std::string> texts;
  ScoringWork work;
  for (const v1::ScorerSpec& scorer : spec.scorers()) {
    if (scorer.role() == v1::SCORER_ROLE_HELD_OUT && judges != v1::SCORER_ROLE_HELD_OUT) continue;
    const bool aesthetic = FamilyOf(scorer.type()) == ScorerFamily::kAesthetic;
    const std::string& folder = aesthetic ? scorer.clip() : scorer.path();
    const absl::StatusOr<ClipFlops> clip = CountClipFlops(folder);
    if (!clip.ok()) {
      work.not_counted.push_back(scorer.name());
      continue;
    }
    if (images.insert(folder).second) work.flops += clip->image;
    if (!aesthetic && texts.insert(folder).second) work.flops += clip->text;
  }
  return work;
}

absl::StatusOr<RunPlan> WithEstimate(const v1::RunSpec& spec, const Drawn& drawn, RunPlan plan) {
  RSIDIFF_ASSIGN_OR_RETURN(const PipelineFlops flops,
                           CountPipelineFlops(spec.model().path(), {plan.width, plan.height}));
  const auto samples = static_cast<double>(drawn.training + drawn.evaluation);
  plan.sampling_flops = static_cast<double>(plan.unet_calls) * flops.unet + samples * flops.text;
  plan.decoding_flops = samples * flops.vae_decode;
  const ScoringWork selection = CountScoring(spec, v1::SCORER_ROLE_SELECTION);
  const ScoringWork all = CountScoring(spec, v1::SCORER_ROLE_HELD_OUT);
  plan.scoring_flops = static_cast<double>(drawn.training) * selection.flops +
                       static_cast<double>(drawn.evaluation) * all.flops;
  plan.not_counted = all.not_counted;
  const bool encodes = spec.train().latents() == v1::LATENT_SOURCE_ENCODED;
  plan.training_flops = static_cast<double>(plan.train_steps) * spec.train().global_batch() *
                        (kForwardAndBackward * flops.unet + flops.text);
  if (encodes)
    plan.training_flops += static_cast<double>(plan.rounds * plan.kept_per_round) * flops.vae_encode;
  // Scorers compute in fp32, and so does an autoencoder that fp16 would make overflow.
  const v1::Precision sampling = spec.sampling().precision();
  const v1::Precision decoding = sampling == v1::PRECISION_FP16 ? v1::PRECISION_FP32 : sampling;
  plan.gpu_hours =
      (plan.sampling_flops / Rate(sampling, plan.gpu) + plan.decoding_flops / Rate(decoding, plan.gpu) +
       plan.scoring_flops / Rate(v1::PRECISION_FP32, plan.gpu) +
       plan.training_flops / Rate(spec.train().precision(), plan.gpu)) /
      3600;
  return plan;
}

}  // namespace

absl::StatusOr<RunPlan> PlanRun(const v1::RunSpec& spec, const PromptCounts& prompts, const GpuRate& gpu) {
  RSIDIFF_ASSIGN_OR_RETURN(const Geometry geometry, ReadGeometry(spec.model().path()));
  const v1::SamplingSpec& sampling = spec.sampling();
  RunPlan plan;
  plan.gpu = gpu;
  plan.rounds = spec.rounds();
  plan.width = sampling.width() != 0 ? sampling.width() : geometry.sample_size * geometry.scale_factor;
  plan.height = sampling.height() != 0 ? sampling.height() : geometry.sample_size * geometry.scale_factor;
  if (plan.rounds > 0) {
    const uint32_t wanted = spec.prompts().per_round();
    plan.prompts_per_round = wanted == 0 ? prompts.train : std::min<uint64_t>(wanted, prompts.train);
  }
  plan.samples_per_round = plan.prompts_per_round * sampling.samples_per_prompt();
  RSIDIFF_RETURN_IF_ERROR(CheckNeighbours(spec.weights(), plan.samples_per_round));
  const bool keep_all = spec.selection().method() == v1::SELECTION_METHOD_ALL;
  plan.kept_per_round = keep_all ? plan.samples_per_round : plan.prompts_per_round * spec.selection().keep();
  const uint32_t limit = spec.prompts().evaluation_limit();
  const uint64_t evaluated = limit == 0 ? prompts.evaluation : std::min<uint64_t>(limit, prompts.evaluation);
  plan.evaluation_samples = evaluated * spec.evaluation().samples_per_prompt();
  plan.sampling_tasks_per_round = CeilDivide(plan.samples_per_round, sampling.chunk());
  plan.evaluation_tasks = CeilDivide(plan.evaluation_samples, sampling.chunk());
  plan.train_steps = uint64_t{plan.rounds} * spec.train().steps();
  const Drawn drawn = SamplesDrawn(plan);
  RSIDIFF_ASSIGN_OR_RETURN(const CallPattern pattern,
                           ReadCallPattern(sampling.scheduler(), spec.model().path()));
  plan.unet_calls =
      UnetPasses(drawn.training, CallsOf(pattern, sampling.steps()), sampling.guidance_scale()) +
      UnetPasses(drawn.evaluation, CallsOf(pattern, spec.evaluation().steps()),
                 spec.evaluation().guidance_scale());
  const uint64_t samples = drawn.training + drawn.evaluation;
  const uint64_t pixels = uint64_t{plan.width} * plan.height;
  plan.picture_bytes = samples * pixels * 3;
  plan.latent_bytes =
      samples * pixels / (geometry.scale_factor * geometry.scale_factor) * kLatentChannels * kLatentBytes;
  plan.checkpoint_bytes = CheckpointBytes(spec);
  plan.training_state_bytes = plan.checkpoint_bytes * TrainingStateParts(spec) * TrainingStatesOfARound(spec);
  return WithEstimate(spec, drawn, std::move(plan));
}

namespace {

std::string PetaFlop(double flops) {
  return absl::StrFormat("%.4g PFLOP", flops * 1e-15);
}

std::string WorkText(const RunPlan& plan) {
  std::string text = absl::StrFormat(
      "work          %s sampling, %s decoding, %s scoring, %s training\n"
      "GPU hours     about %.3g on one GPU of %.4g TFLOP/s in bf16 and fp16, %.4g in fp32, at %.3g %% of "
      "these\n",
      PetaFlop(plan.sampling_flops), PetaFlop(plan.decoding_flops), PetaFlop(plan.scoring_flops),
      PetaFlop(plan.training_flops), plan.gpu_hours, plan.gpu.half_tflops, plan.gpu.single_tflops,
      100 * plan.gpu.utilization);
  if (!plan.not_counted.empty()) {
    absl::StrAppend(&text, "not counted   scorers without a CLIP configuration: ",
                    absl::StrJoin(plan.not_counted, ", "), "\n");
  }
  return text;
}

}  // namespace

std::string PlanText(const RunPlan& plan) {
  return absl::StrCat(
      "rounds        ", plan.rounds, " after the base model\n", "a round       ", plan.prompts_per_round,
      " prompts, ", plan.samples_per_round, " samples in ", plan.sampling_tasks_per_round, " tasks, at most ",
      plan.kept_per_round, " kept\n", "an evaluation ", plan.evaluation_samples, " samples in ",
      plan.evaluation_tasks, " tasks; ", plan.rounds + 1, " evaluations\n", "training      ",
      plan.train_steps, " optimizer steps in all\n", "pictures      ", plan.width, " x ", plan.height,
      " pixels; ", plan.unet_calls, " UNet passes in all\n", "disk          at most ",
      BytesText(static_cast<double>(plan.picture_bytes)), " pictures, ",
      BytesText(static_cast<double>(plan.latent_bytes)), " latents, ",
      BytesText(static_cast<double>(plan.checkpoint_bytes)), " checkpoints, ",
      BytesText(static_cast<double>(plan.training_state_bytes)),
      " training states (`rsidiff-coordinator prune` removes the old ones)\n", WorkText(plan));
}

std::string PlanJson(const RunPlan& plan) {
  const nlohmann::ordered_json json = {{"rounds", plan.rounds},
                                       {"prompts_per_round", plan.prompts_per_round},
                                       {"samples_per_round", plan.samples_per_round},
                                       {"kept_per_round", plan.kept_per_round},
                                       {"evaluation_samples", plan.evaluation_samples},
                                       {"sampling_tasks_per_round", plan.sampling_tasks_per_round},
                                       {"evaluation_tasks", plan.evaluation_tasks},
                                       {"train_steps", plan.train_steps},
                                       {"width", plan.width},
                                       {"height", plan.height},
                                       {"unet_calls", plan.unet_calls},
                                       {"picture_bytes", plan.picture_bytes},
                                       {"latent_bytes", plan.latent_bytes},
                                       {"checkpoint_bytes", plan.checkpoint_bytes},
                                       {"training_state_bytes", plan.training_state_bytes},
                                       {"sampling_flops", plan.sampling_flops},
                                       {"decoding_flops", plan.decoding_flops},
                                       {"scoring_flops", plan.scoring_flops},
                                       {"training_flops", plan.training_flops},
                                       {"scorers_not_counted", plan.not_counted},
                                       {"gpu_half_tflops", plan.gpu.half_tflops},
                                       {"gpu_single_tflops", plan.gpu.single_tflops},
                                       {"gpu_utilization", plan.gpu.utilization},
                                       {"gpu_hours", plan.gpu_hours}};
  return json.dump(1);
}

}  // namespace rsidiff::coordinator
