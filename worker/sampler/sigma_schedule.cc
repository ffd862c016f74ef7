#include "worker/sampler/sigma_schedule.h"

#include <algorithm>
#include <cmath>

#include "worker/sampler/timestep_spacing.h"

namespace rsidiff::worker {

SigmaSchedule::SigmaSchedule(const SchedulerConfig& config, const std::vector<float>& alphas_cumprod)
    : alphas_cumprod_(alphas_cumprod) {
  if (config.rescale_betas_zero_snr) alphas_cumprod_.back() = std::ldexp(1.0f, -24);
  for (float alpha : alphas_cumprod_) {
    sigmas_.push_back(std::sqrt((1 - alpha) / alpha));
    log_sigmas_.push_back(std::log(sigmas_.back()));
  }
}

double SigmaSchedule::SigmaAt(double timestep) const {
  if (timestep <= 0) return sigmas_.front();
  const size_t low = static_cast<size_t>(timestep);
  if (low + 1 >= sigmas_.size()) return sigmas_.back();
  const double slope = static_cast<double>(sigmas_[low + 1]) - sigmas_[low];
  return slope * (timestep - low) + sigmas_[low];
}

double SigmaSchedule::TimestepOf(double sigma) const {
  const double log_sigma = std::log(std::max(sigma, 1e-10));
  // The last level that is not above; levels rise.
  const auto above = std::upper_bound(log_sigmas_.begin(), log_sigmas_.end(), log_sigma);
  const std::ptrdiff_t last = static_cast<std::ptrdiff_t>(log_sigmas_.size()) - 2;
  const std::ptrdiff_t low = std::clamp<std::ptrdiff_t>(above - log_sigmas_.begin() - 1, 0, last);
  const double weight =
      std::clamp((log_sigmas_[low] - log_sigma) / (log_sigmas_[low] - log_sigmas_[low + 1]), 0.0, 1.0);
  return (1 - weight) * low + weight * (low + 1);
}

std::vector<double> SigmaSchedule::Spaced(SigmaSpacing spacing, double max, double min, int count) {
  constexpr double kRho = 7.0;
  std::vector<double> sigmas;
  if (spacing == SigmaSpacing::kKarras) {
    const double from = std::pow(max, 1 / kRho), to = std::pow(min, 1 / kRho);
    for (double ramp : Linspace(0, 1, count)) sigmas.push_back(std::pow(from + ramp * (to - from), kRho));
  } else {
    for (double value : Linspace(std::log(max), std::log(min), count)) sigmas.push_back(std::exp(value));
  }
  return sigmas;
}

double SigmaSchedule::FinalSigma(worker::FinalSigma choice) const {
  return choice == worker::FinalSigma::kZero ? 0.0 : static_cast<double>(sigmas_.front());
}

}  // namespace rsidiff::worker
