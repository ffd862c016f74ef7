#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "rsidiff/v1/run.pb.h"

namespace rsidiff::coordinator {

/// A selected sample, as its weight depends on it.
struct WeightInput {
  uint32_t prompt_id = 0;
  double reward = 0;
  double distance = 0;  // standardised, to the base model's samples
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
///   gaussian    u * exp(-penalty * max(0, distance - margin)), so knn, whose distance is another one
/// then w = clip(u, min, max), divided by its mean. If the effective sample size is below
/// ess_floor * count, w becomes w^alpha over its mean, alpha in [0, 1] the largest that reaches the floor.
/// The samples of a prompt have to stand together.
SampleWeights ComputeWeights(const v1::WeightSpec& spec, std::vector<WeightInput> samples);

/// The same, a slice at a time: the floor alone takes up to 60 passes over the samples. The result does not
/// depend on the slices.
class WeightComputation {
 public:
  WeightComputation(const v1::WeightSpec& spec, std::vector<WeightInput> samples);

  /// Goes on with the next `count` samples of the pass under way, and to the end of the prompt; count > 0.
  void Advance(size_t count);
  bool done() const { return pass_ == Pass::kDone; }
  /// Once it is done.
  SampleWeights Take() { return std::move(result_); }

 private:
  enum class Pass {
    kPreference,  // u of each prompt's samples
    kClip,        // the distance term, clipping, their sum
    kNormalize,   // by the mean; the effective size
    kFlatten,     // w^alpha, their sum
    kMeasure,     // by the mean; the effective size of that alpha
    kDone
  };
  size_t Preference(size_t end);
  void Clip(size_t end);
  void Flatten(size_t end);
  // Divides `values` by their mean, and adds them up for the effective size.
  void Normalize(std::vector<double>& values, size_t end);
  void EndPass();
  void Start(Pass pass);
  void NextAlpha();
  double MeasuredSize() const { return squares_ > 0 ? total_ * total_ / squares_ : 0; }

  const v1::WeightSpec spec_;
  const std::vector<WeightInput> samples_;
  SampleWeights result_;
  Pass pass_ = Pass::kPreference;
  size_t next_ = 0;
  size_t clipped_ = 0;
  double sum_ = 0;      // of the pass's values, before they are divided by their mean
  double total_ = 0;    // of the divided values
  double squares_ = 0;  // of the divided values
  // The search for alpha: the effective size falls as alpha grows, so the largest that reaches the floor is
  // bracketed.
  std::vector<double> flattened_;
  double wanted_ = 0;
  double alpha_ = 1;
  double reaches_ = 0;
  double misses_ = 1;
  int tries_ = 0;
};

}  // namespace rsidiff::coordinator
