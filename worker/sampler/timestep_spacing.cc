#include "worker/sampler/timestep_spacing.h"

#include <algorithm>
#include <cmath>

namespace rsidiff::worker {

std::vector<double> Linspace(double first, double last, int count) {
  std::vector<double> values(count, first);
  if (count < 2) return values;
  const double step = (last - first) / (count - 1);
  for (int i = 1; i < count - 1; ++i) values[i] = i * step + first;
  values.back() = last;
  return values;
}

std::vector<double> RoundedCountdown(double start, double step) {
  const int count = static_cast<int>(std::ceil(start / step));
  // numpy fills from the first two values.
  const double difference = (start - step) - start;
  std::vector<double> values(count);
  for (int i = 0; i < count; ++i) values[i] = std::nearbyint(start + i * difference);
  return values;
}

std::vector<double> SpacedTimesteps(const SchedulerConfig& config, int steps) {
  const int train_steps = config.num_train_timesteps;
  std::vector<double> timesteps;
  switch (config.timestep_spacing) {
    case TimestepSpacing::kLinspace:
      timesteps = Linspace(0, train_steps - 1, steps);
      std::reverse(timesteps.begin(), timesteps.end());
      break;
    case TimestepSpacing::kLeading:
      for (int i = steps - 1; i >= 0; --i)
        timesteps.push_back(i * (train_steps / steps) + config.steps_offset);
      break;
    case TimestepSpacing::kTrailing:
      timesteps = RoundedCountdown(train_steps, static_cast<double>(train_steps) / steps);
      for (double& timestep : timesteps) timestep -= 1;
      break;
  }
  return timesteps;
}

}  // namespace rsidiff::worker
