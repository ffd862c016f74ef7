#pragma once

#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "worker/sampler/scheduler_config.h"

namespace rsidiff::worker {

/// One denoising trajectory of a fixed number of steps: the deterministic solvers of diffusers with its
/// arithmetic. All coefficients are computed when it is created, so the loop only enqueues tensor work.
/// Holds the trajectory's state: use one a trajectory, calls in order i = 0, 1, ...; not thread-safe.
class Scheduler {
 public:
  virtual ~Scheduler() = default;

  /// The model's timestep of each call, in order. PNDM has more of them than steps.
  const std::vector<float>& timesteps() const { return timesteps_; }
  int num_calls() const { return static_cast<int>(timesteps_.size()); }

  /// Unit noise times this is the trajectory's start.
  double init_noise_sigma() const { return init_noise_sigma_; }

  /// The model's input at call `i` for the current `sample`.
  virtual at::Tensor ScaleModelInput(const at::Tensor& sample, int i) const { return sample; }

  /// The sample after call `i`, for the model's (guided) answer at timesteps()[i]. Does not change its
  /// arguments, but may keep them until later calls.
  virtual at::Tensor Step(const at::Tensor& model_output, int i, const at::Tensor& sample) = 0;

 protected:
  std::vector<float> timesteps_;
  double init_noise_sigma_ = 1.0;
};

/// A trajectory of `steps` >= 1 steps. INVALID_ARGUMENT where diffusers could not make one either.
absl::StatusOr<std::unique_ptr<Scheduler>> CreateScheduler(const SchedulerConfig& config, int steps);

}  // namespace rsidiff::worker
