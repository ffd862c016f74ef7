#pragma once

#include <vector>

#include "worker/sampler/scheduler_config.h"

namespace rsidiff::worker {

/// numpy.linspace(first, last, count).
std::vector<double> Linspace(double first, double last, int count);

/// numpy.arange(start, 0, -step).round(): falling, the rounding half to even.
std::vector<double> RoundedCountdown(double start, double step);

/// The falling training timesteps of `steps` inference steps as DDIM, PNDM and Euler of diffusers choose them
/// (table 2 of arXiv 2305.08891). "linspace" is not rounded here.
std::vector<double> SpacedTimesteps(const SchedulerConfig& config, int steps);

}  // namespace rsidiff::worker
