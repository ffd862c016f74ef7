#pragma once

#include <cstdint>
#include <string>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {

/// What a Gaussian with Ledoit-Wolf shrinkage needs of a set of rows x, in a form that adds up over sets:
/// sums over y = x - mean. fp64 on the CPU. About each set's own mean, because sums of the rows themselves
/// would cancel where all rows are near to each other.
struct Moments {
  at::Tensor mean;      // [D]
  at::Tensor scatter;   // [D, D]: sum of y y^T
  at::Tensor third;     // [D]: sum of |y|^2 y
  double fourth = 0.0;  // sum of |y|^4
  int64_t count = 0;
};

/// Of the rows of `features` [n, D] of any floating type. INVALID_ARGUMENT: no rows, another number of
/// dimensions, or a value that is not finite.
absl::StatusOr<Moments> ComputeMoments(const at::Tensor& features);

/// Of all rows of the sets together; the bits depend on the order. INVALID_ARGUMENT: no set, or other row
/// lengths.
absl::StatusOr<Moments> MergeMoments(absl::Span<const Moments> sets);

/// As work.proto's MomentsResult describes.
NamedTensors MomentsTensors(const Moments& moments);

/// The inverse. INVALID_ARGUMENT, starting with `name`, for tensors that are missing or do not fit each
/// other.
absl::StatusOr<Moments> ParseMoments(const NamedTensors& tensors, const std::string& name);

}  // namespace rsidiff::worker
