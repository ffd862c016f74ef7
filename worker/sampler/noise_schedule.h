#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "worker/sampler/scheduler_config.h"

namespace rsidiff::worker {

/// The forward process q(x_t | x_0) = N(sqrt(a_t) x_0, (1 - a_t) I) over the training timesteps: what
/// training needs of a scheduler_config.json. Immutable; thread-safe.
class NoiseSchedule {
 public:
  /// Betas as diffusers makes them, in fp32: `trained_betas`, or beta_schedule linear, scaled_linear or
  /// squaredcos_cap_v2, rescaled to zero terminal SNR if `rescale_betas_zero_snr`.
  static absl::StatusOr<NoiseSchedule> Create(const SchedulerConfig& config);

  int num_train_timesteps() const { return static_cast<int>(alphas_cumprod_.size()); }
  /// a_t for t = 0 .. num_train_timesteps - 1.
  const std::vector<float>& alphas_cumprod() const { return alphas_cumprod_; }
  PredictionType prediction_type() const { return prediction_type_; }

  /// sqrt(a_t) x0 + sqrt(1 - a_t) noise, in the type and on the device of `x0`. `timesteps` is int64 [N],
  /// one for each row of `x0` [N, ...].
  at::Tensor AddNoise(const at::Tensor& x0, const at::Tensor& noise, const at::Tensor& timesteps) const;

  /// What the model should answer for AddNoise(x0, noise, timesteps): noise, x0 or the velocity
  /// sqrt(a_t) noise - sqrt(1 - a_t) x0, by prediction_type().
  at::Tensor Target(const at::Tensor& x0, const at::Tensor& noise, const at::Tensor& timesteps) const;

  /// Signal-to-noise ratio a_t / (1 - a_t) at each of `timesteps`, fp32 [N].
  at::Tensor SignalToNoise(const at::Tensor& timesteps) const;

 private:
  NoiseSchedule(std::vector<float> alphas_cumprod, PredictionType prediction_type);
  // a_t at `timesteps`, shaped to broadcast over `like`.
  at::Tensor AlphasAt(const at::Tensor& timesteps, const at::Tensor& like) const;

  std::vector<float> alphas_cumprod_;
  at::Tensor alphas_cumprod_tensor_;  // the same on the CPU
  PredictionType prediction_type_;
};

}  // namespace rsidiff::worker
