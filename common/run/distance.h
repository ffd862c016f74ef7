#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "rsidiff/v1/run.pb.h"

// What follows from a run's `weights` about distances to the base model's samples, which are those of
// round 1.
namespace rsidiff {

/// Samples of round 1 whose own distances all distances are standardised by: enough for their mean to be
/// known to a hundredth of their deviation, and the work does not grow with the round.
inline constexpr uint32_t kOwnDistances = 16'384;

/// True when the weights need distances.
bool MeasuresDistances(const v1::WeightSpec& weights);

/// INVALID_ARGUMENT when round 1 has `samples`, and these are too few for `knn` to find the neighbours. A
/// single sample has none at all: it is weighed as by `uniform`.
absl::Status CheckNeighbours(const v1::WeightSpec& weights, uint64_t samples);

}  // namespace rsidiff
