#pragma once

#include <vector>

#include "worker/sampler/noise_schedule.h"
#include "worker/sampler/scheduler.h"

namespace rsidiff::worker {

/// Euler's method on the probability-flow ODE (algorithm 2 of arXiv 2206.00364 without churn); diffusers'
/// scheduling_euler_discrete.py.
class EulerScheduler : public Scheduler {
 public:
  static absl::StatusOr<std::unique_ptr<Scheduler>> Create(const SchedulerConfig& config,
                                                           const NoiseSchedule& noise, int steps);

  at::Tensor ScaleModelInput(const at::Tensor& sample, int i) const override;
  at::Tensor Step(const at::Tensor& model_output, int i, const at::Tensor& sample) override;

 private:
  struct Coefficients {
    double input_scale;
    double keep, add;  // next = keep * sample + add * output
  };

  std::vector<Coefficients> steps_;
};

}  // namespace rsidiff::worker
