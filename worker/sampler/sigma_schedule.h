#pragma once

#include <vector>

#include "worker/sampler/scheduler_config.h"

namespace rsidiff::worker {

/// The noise levels sigma_t = sqrt((1 - a_t) / a_t) of the training timesteps, as Euler and DPM-Solver++ of
/// diffusers see them: fp32, and with a zero terminal signal-to-noise ratio the last a_t is 2^-24.
class SigmaSchedule {
 public:
  SigmaSchedule(const SchedulerConfig& config, const std::vector<float>& alphas_cumprod);

  /// Rising with t.
  const std::vector<float>& sigmas() const { return sigmas_; }
  const std::vector<float>& alphas_cumprod() const { return alphas_cumprod_; }

  /// Linear interpolation between training timesteps.
  double SigmaAt(double timestep) const;
  /// The fractional timestep of a noise level, interpolated between the logarithms.
  double TimestepOf(double sigma) const;

  /// `count` levels from `max` down to `min`: after Karras et al. (arXiv 2206.00364, rho 7), or even steps of
  /// the logarithm.
  static std::vector<double> Spaced(SigmaSpacing spacing, double max, double min, int count);

  /// The level after the last step.
  double FinalSigma(FinalSigma choice) const;

 private:
  std::vector<float> alphas_cumprod_;
  std::vector<float> sigmas_;
  std::vector<float> log_sigmas_;
};

}  // namespace rsidiff::worker
