#pragma once

#include <cstdint>

namespace rsidiff::worker {

enum class LearningRateShape { kConstant, kCosine };

struct LearningRateOptions {
  double peak = 1e-5;
  LearningRateShape shape = LearningRateShape::kConstant;
  uint64_t warmup_steps = 0;
  /// Length of the whole training; where the cosine reaches zero.
  uint64_t total_steps = 0;
};

/// Learning rate of the optimizer step with index `step` (the first is 0): linear from 0 over the warm-up,
/// then constant or half a cosine. As diffusers.optimization.get_scheduler with "constant_with_warmup" and
/// "cosine"; so with a warm-up the first step's rate is 0.
double LearningRateAt(const LearningRateOptions& options, uint64_t step);

/// Decay of the exponential moving average after `applied` optimizer steps (1 or more):
///   s = applied - 1;  0 where s is 0, else min(decay, (1 + s) / (10 + s))
/// As diffusers.training_utils.EMAModel without its warm-up option: the first step copies the parameters.
double EmaDecayAt(double decay, uint64_t applied);

}  // namespace rsidiff::worker
