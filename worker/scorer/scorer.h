#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/scorer/score_batch.h"

namespace rsidiff::worker {

/// One preference metric: a number for a picture and the prompt it was made for, higher is better.
class Scorer {
 public:
  virtual ~Scorer() = default;

  /// One score a picture, in order; not checked to be finite (ScorerSet does). Not thread-safe.
  virtual absl::StatusOr<std::vector<double>> Score(ScoreBatch& batch) = 0;

  /// The image embedding that the metric looks at, L2-normalised: fp32 [N, D] on the CPU.
  virtual absl::StatusOr<at::Tensor> ImageFeatures(ScoreBatch& batch) = 0;
};

}  // namespace rsidiff::worker
