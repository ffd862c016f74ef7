#pragma once

#include <ATen/core/Tensor.h>

#include "worker/sampler/noise_schedule.h"

namespace rsidiff::worker {

struct ObjectiveOptions {
  /// min-SNR weighting (Hang et al. 2023, arXiv 2303.09556; as diffusers' train_text_to_image.py):
  /// min(SNR, gamma) / SNR for epsilon, / (SNR + 1) for v-prediction. 0: off.
  double min_snr_gamma = 0.0;
};

/// What a model is trained on for one micro batch of n samples.
struct NoisedBatch {
  at::Tensor noisy;   // [n, C, h, w] fp32: the model's input
  at::Tensor target;  // [n, C, h, w] fp32: noise or velocity, by the schedule's prediction type
};

/// The forward process of `schedule` at `timesteps` (int64 [n]).
NoisedBatch AddTrainingNoise(const NoiseSchedule& schedule, const at::Tensor& latents,
                             const at::Tensor& noise, const at::Tensor& timesteps);

/// Each sample's loss, fp32 [n]: mean over the sample's elements of (prediction - target)^2, times the
/// min-SNR weight of its timestep where that is on. Differentiable in `prediction`, of any floating type.
at::Tensor SampleLosses(const ObjectiveOptions& options, const NoiseSchedule& schedule,
                        const at::Tensor& prediction, const at::Tensor& target, const at::Tensor& timesteps);

}  // namespace rsidiff::worker
