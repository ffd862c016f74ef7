#include "worker/train/objective.h"

#include <ATen/ATen.h>

namespace rsidiff::worker {

NoisedBatch AddTrainingNoise(const NoiseSchedule& schedule, const at::Tensor& latents,
                             const at::Tensor& noise, const at::Tensor& timesteps) {
  return {schedule.AddNoise(latents, noise, timesteps), schedule.Target(latents, noise, timesteps)};
}

at::Tensor SampleLosses(const ObjectiveOptions& options, const NoiseSchedule& schedule,
                        const at::Tensor& prediction, const at::Tensor& target, const at::Tensor& timesteps) {
  const at::Tensor losses = (prediction.to(at::kFloat) - target).square().flatten(1).mean(1);
  if (options.min_snr_gamma <= 0.0) return losses;
  const at::Tensor snr = schedule.SignalToNoise(timesteps).to(losses.device());
  const bool velocity = schedule.prediction_type() == PredictionType::kVPrediction;
  return losses * snr.clamp_max(options.min_snr_gamma) / (velocity ? snr + 1.0 : snr);
}

}  // namespace rsidiff::worker
