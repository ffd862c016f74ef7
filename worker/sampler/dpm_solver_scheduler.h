#pragma once

#include <deque>
#include <vector>

#include "worker/sampler/noise_schedule.h"
#include "worker/sampler/scheduler.h"

namespace rsidiff::worker {

/// DPM-Solver++, multistep, order 1 to 3 (arXiv 2211.01095); diffusers' scheduling_dpmsolver_multistep.py
/// with algorithm_type dpmsolver++.
class DpmSolverScheduler : public Scheduler {
 public:
  static absl::StatusOr<std::unique_ptr<Scheduler>> Create(const SchedulerConfig& config,
                                                           const NoiseSchedule& noise, int steps);

  at::Tensor Step(const at::Tensor& model_output, int i, const at::Tensor& sample) override;

 private:
  // x0 = x0_sample * sample + x0_output * output;
  // next = keep * sample + sum over k of weights[k] * (x0 of k calls ago).
  struct Coefficients {
    double x0_sample, x0_output;
    double keep;
    std::vector<double> weights;
  };

  std::vector<Coefficients> steps_;
  std::deque<at::Tensor> history_;  // x0 estimates, the newest first
};

}  // namespace rsidiff::worker
