#pragma once

#include <deque>
#include <vector>

#include "worker/sampler/noise_schedule.h"
#include "worker/sampler/scheduler.h"

namespace rsidiff::worker {

/// Pseudo numerical methods (arXiv 2202.09778): Runge-Kutta warm-up of 12 calls and linear multistep after
/// it, or, with skip_prk_steps, multistep from the start with one extra call (PLMS). diffusers'
/// scheduling_pndm.py. Counters and history are those of one trajectory.
class PndmScheduler : public Scheduler {
 public:
  static absl::StatusOr<std::unique_ptr<Scheduler>> Create(const SchedulerConfig& config,
                                                           const NoiseSchedule& noise, int steps);

  at::Tensor Step(const at::Tensor& model_output, int i, const at::Tensor& sample) override;

 private:
  // Formula (9) between two timesteps: next = sample_factor * sample + noise_factor * noise, where the
  // noise is from_output * output + from_sample * sample.
  struct Transfer {
    double sample_factor, noise_factor;
    double from_output, from_sample;
  };

  at::Tensor Apply(const Transfer& transfer, const at::Tensor& model_output, const at::Tensor& sample) const;
  at::Tensor RungeKuttaStep(const at::Tensor& model_output, int i, const at::Tensor& sample);
  at::Tensor MultistepStep(const at::Tensor& model_output, int i, const at::Tensor& sample);

  int warm_up_calls_ = 0;
  bool repeats_second_call_ = false;
  std::vector<Transfer> transfers_;
  std::deque<at::Tensor> history_;  // model outputs, the newest last, at most four
  at::Tensor accumulated_;          // weighted outputs of a Runge-Kutta step under way
  at::Tensor held_sample_;          // where the step under way started
};

}  // namespace rsidiff::worker
