#include "worker/sampler/euler_scheduler.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "worker/sampler/sigma_schedule.h"
#include "worker/sampler/timestep_spacing.h"

namespace rsidiff::worker {
namespace {

// The levels at the timesteps, before respacing.
std::vector<double> InterpolatedSigmas(const SchedulerConfig& config, const SigmaSchedule& schedule,
                                       const std::vector<double>& timesteps, int steps) {
  std::vector<double> sigmas;
  if (!config.log_linear_interpolation) {
    for (double timestep : timesteps) sigmas.push_back(schedule.SigmaAt(timestep));
    return sigmas;
  }
  for (double value :
       Linspace(std::log(schedule.sigmas().back()), std::log(schedule.sigmas().front()), steps + 1)) {
    sigmas.push_back(std::exp(value));
  }
  return sigmas;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Scheduler>> EulerScheduler::Create(const SchedulerConfig& config,
                                                                  const NoiseSchedule& noise, int steps) {
  const SigmaSchedule schedule(config, noise.alphas_cumprod());
  std::vector<double> timesteps = SpacedTimesteps(config, steps);
  for (double& timestep : timesteps) timestep = static_cast<float>(timestep);
  std::vector<double> sigmas = InterpolatedSigmas(config, schedule, timesteps, steps);
  if (config.sigma_spacing != SigmaSpacing::kTimesteps) {
    sigmas = SigmaSchedule::Spaced(config.sigma_spacing, config.sigma_max.value_or(sigmas.front()),
                                   config.sigma_min.value_or(sigmas.back()), steps);
    timesteps.clear();
    for (double sigma : sigmas) timesteps.push_back(schedule.TimestepOf(sigma));
  }
  sigmas.push_back(schedule.FinalSigma(config.final_sigma));

  auto scheduler = std::make_unique<EulerScheduler>();
  const bool continuous =
      config.continuous_timesteps && config.prediction_type == PredictionType::kVPrediction;
  for (size_t i = 0; i < timesteps.size(); ++i) {
    const double sigma = static_cast<float>(sigmas[i]);
    const double step = static_cast<float>(sigmas[i + 1]) - sigma;
    const double root = std::sqrt(sigma * sigma + 1);
    Coefficients c{1 / root, 1, step};
    if (config.prediction_type == PredictionType::kSample) {
      c.keep = 1 + step / sigma;
      c.add = -step / sigma;
    } else if (config.prediction_type == PredictionType::kVPrediction) {
      c.keep = 1 + step * sigma / (sigma * sigma + 1);
      c.add = step / root;
    }
    scheduler->steps_.push_back(c);
    scheduler->timesteps_.push_back(static_cast<float>(continuous ? 0.25 * std::log(sigma) : timesteps[i]));
  }
  const double max_sigma = static_cast<float>(*std::max_element(sigmas.begin(), sigmas.end()));
  scheduler->init_noise_sigma_ =
      config.timestep_spacing == TimestepSpacing::kLeading ? std::sqrt(max_sigma * max_sigma + 1) : max_sigma;
  return scheduler;
}

at::Tensor EulerScheduler::ScaleModelInput(const at::Tensor& sample, int i) const {
  return sample * steps_[i].input_scale;
}

at::Tensor EulerScheduler::Step(const at::Tensor& model_output, int i, const at::Tensor& sample) {
  return at::add(sample * steps_[i].keep, model_output, steps_[i].add);
}

}  // namespace rsidiff::worker
