#include "worker/train/learning_rate.h"

#include <algorithm>
#include <cmath>

namespace rsidiff::worker {

double LearningRateAt(const LearningRateOptions& options, uint64_t step) {
  if (step < options.warmup_steps) {
    return options.peak * static_cast<double>(step) / static_cast<double>(options.warmup_steps);
  }
  if (options.shape == LearningRateShape::kConstant) return options.peak;
  const uint64_t length =
      options.total_steps > options.warmup_steps ? options.total_steps - options.warmup_steps : 1;
  const double progress = static_cast<double>(step - options.warmup_steps) / static_cast<double>(length);
  return options.peak * std::max(0.0, 0.5 * (1.0 + std::cos(M_PI * progress)));
}

double EmaDecayAt(double decay, uint64_t applied) {
  if (applied <= 1) return 0.0;
  const double s = static_cast<double>(applied - 1);
  return std::min(decay, (1.0 + s) / (10.0 + s));
}

}  // namespace rsidiff::worker
