#pragma once

#include <optional>
#include <vector>

#include "worker/sampler/noise_schedule.h"
#include "worker/sampler/scheduler.h"

namespace rsidiff::worker {

/// DDIM with eta 0 (arXiv 2010.02502, formula 12); diffusers' scheduling_ddim.py.
class DdimScheduler : public Scheduler {
 public:
  static absl::StatusOr<std::unique_ptr<Scheduler>> Create(const SchedulerConfig& config,
                                                           const NoiseSchedule& noise, int steps);

  at::Tensor Step(const at::Tensor& model_output, int i, const at::Tensor& sample) override;

 private:
  // x0 = x0_sample * sample + x0_output * output, noise likewise; next = next_x0 * x0 + next_noise * noise.
  struct Coefficients {
    double x0_sample, x0_output;
    double noise_sample, noise_output;
    double next_x0, next_noise;
  };

  std::vector<Coefficients> steps_;
  std::optional<double> clip_range_;
};

}  // namespace rsidiff::worker
