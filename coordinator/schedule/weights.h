#pragma once

#include <cstdint>
#include <vector>

#include "rsidiff/v1/run.pb.h"

namespace rsidiff::coordinator {

/// A selected sample, as its weight depends on it.
struct WeightInput {
  uint32_t prompt_id = 0;
  double reward = 0;
  double distance = 0;  // standardised Mahalanobis distance to the base model's samples
};

struct SampleWeights {
  std::vector<double> weights;  // in the order of the input; their mean is 1
  double effective_sample_size = 0;
  double clipped_share = 0;  // share of the weights that a clip bound changed or met
};

/// (sum w)^2 / sum w^2 (Kish); 0 for no weights.
double EffectiveSampleSize(const std::vector<double>& weights);

/// Weights of a round's selected samples, after the run file's `weights` (ours; the paper's equations are
/// not public):
///   uniform     w = 1
///   preference  u = softmax over the prompt's selected samples of reward / temperature, times their number
///   gaussian    u * exp(-penalty * max(0, distance - margin))
/// then w = clip(u, min, max), divided by its mean. If the effective sample size is below
/// ess_floor * count, w becomes w^alpha over its mean, alpha in [0, 1] the largest that reaches the floor.
SampleWeights ComputeWeights(const v1::WeightSpec& spec, const std::vector<WeightInput>& samples);

}  // namespace rsidiff::coordinator
