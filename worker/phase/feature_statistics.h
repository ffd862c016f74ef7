#pragma once

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"

namespace rsidiff::worker {

/// Mean over all pairs of rows of 1 - cosine similarity: 0 where all point the same way. `features` [n, D];
/// 0 for fewer than two rows. Computed in fp64 in linear time.
double MeanPairwiseCosineDistance(const at::Tensor& features);

/// Fréchet distance between the Gaussians of two feature sets [n, D] and [m, D] (Heusel et al. 2017, FID):
///   |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2)
/// with covariances divided by count - 1, in fp64; the trace of the root from the eigenvalues of
/// C1^1/2 C2 C1^1/2. A set of one row counts as a point. INVALID_ARGUMENT for an empty set, other row
/// lengths, or values that are not finite.
absl::StatusOr<double> FrechetDistance(const at::Tensor& first, const at::Tensor& second);

}  // namespace rsidiff::worker
