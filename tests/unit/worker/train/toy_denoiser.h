#pragma once

#include <memory>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "worker/sampler/noise_schedule.h"
#include "worker/train/batch_source.h"
#include "worker/train/trainer.h"

namespace rsidiff::worker {

/// A denoiser of a few thousand parameters with everything a UNet's step has: convolutions, a timestep, a
/// text embedding.
inline TrainableModel ToyDenoiser() {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(7);
  const auto weight = [&](at::IntArrayRef sizes) { return at::randn(sizes, generator).mul_(0.2); };
  TrainableModel model;
  model.parameters = {{"conv_in.weight", weight({16, 4, 3, 3})}, {"conv_in.bias", weight({16})},
                      {"time.weight", weight({16, 1})},          {"text.weight", weight({16, 6})},
                      {"mid.weight", weight({16, 16, 3, 3})},    {"conv_out.weight", weight({4, 16, 3, 3})}};
  const NamedTensors p = model.parameters;
  model.forward = [p](const at::Tensor& noisy, const at::Tensor& timesteps, const at::Tensor& context) {
    at::Tensor x = at::conv2d(noisy, p[0].second, p[1].second, 1, 1);
    const at::Tensor time = at::linear(timesteps.to(noisy.scalar_type()).unsqueeze(1) / 1000.0, p[2].second);
    const at::Tensor text = at::linear(context.mean(1), p[3].second);
    x = at::silu(x + (time + text).unsqueeze(2).unsqueeze(3));
    x = x + at::silu(at::conv2d(x, p[4].second, {}, 1, 1));
    return at::conv2d(x, p[5].second, {}, 1, 1);
  };
  return model;
}

/// 20 samples of [4, 4, 4] with 3 captions and the empty one; the last 5 are replayed.
inline TrainingSet ToySet() {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(11);
  TrainingSet set;
  set.latents = at::randn({20, 4, 4, 4}, generator);
  set.contexts = at::randn({4, 5, 6}, generator);
  set.empty_context = 3;
  for (int i = 0; i < 20; ++i) {
    set.context_of.push_back(i % 3);
    set.weights.push_back(0.5f + 0.05f * static_cast<float>(i));
    set.replay.push_back(i >= 15);
    set.names.push_back("sample " + std::to_string(i));
  }
  return set;
}

inline BatchPlanOptions ToyPlan() {
  BatchPlanOptions plan;
  plan.seed = 5;
  plan.global_batch = 10;
  plan.replay = 0.25;
  plan.caption_dropout = 0.2;
  return plan;
}

inline TrainerOptions ToyOptions(uint64_t steps) {
  TrainerOptions options;
  options.learning_rate.peak = 3e-3;
  options.learning_rate.shape = LearningRateShape::kCosine;
  options.learning_rate.warmup_steps = 2;
  options.learning_rate.total_steps = steps;
  options.max_grad_norm = 0.5;
  options.ema_decay = 0.9;
  options.micro_batch = 2;
  options.bucket_bytes = 4096;  // several buckets
  return options;
}

inline absl::StatusOr<std::unique_ptr<Trainer>> ToyTrainer(const TrainerOptions& options,
                                                           TrainableModel model = ToyDenoiser(),
                                                           TrainingSet set = ToySet()) {
  absl::StatusOr<std::unique_ptr<PlannedBatches>> batches = PlannedBatches::Create(std::move(set), ToyPlan());
  if (!batches.ok()) return batches.status();
  return Trainer::Create(options, std::move(model), *NoiseSchedule::Create(SchedulerConfig{}),
                         *std::move(batches));
}

}  // namespace rsidiff::worker
