#pragma once

#include <cstdint>
#include <string>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "worker/phase/moments.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {

/// A Gaussian of image features, fitted to a reference set, and how far the reference's own samples lie from
/// its centre. All fp64 on the CPU.
struct Gaussian {
  at::Tensor mean;               // [D]
  at::Tensor whitening;          // [D, D], lower triangular: inverse of the covariance's Cholesky factor
  double distance_mean = 0.0;    // of the reference's Mahalanobis distances
  double distance_stddev = 1.0;  // population form; 1 where the distances are all equal
  double shrinkage = 0.0;
  uint64_t count = 0;
};

/// Mean and Ledoit-Wolf covariance (Ledoit and Wolf 2004, "A well-conditioned estimator for
/// large-dimensional covariance matrices"; as sklearn.covariance.LedoitWolf): (1 - s) S + s tr(S)/D I.
/// Where that is not positive definite (as with two samples, whose s is 0) s is raised to 0.01.
/// `rows` [n, D] are those whose distances give distance_mean and distance_stddev: all rows that `moments`
/// are of, or enough of them. INVALID_ARGUMENT: fewer than two rows, rows of another length, or no variance
/// at all.
absl::StatusOr<Gaussian> FitGaussian(const Moments& moments, const at::Tensor& rows);

/// Mahalanobis distance of each row of `features` [n, D]: fp64 [n].
at::Tensor MahalanobisDistances(const Gaussian& gaussian, const at::Tensor& features);

/// (distance - distance_mean) / distance_stddev of each row.
at::Tensor StandardizedDistances(const Gaussian& gaussian, const at::Tensor& features);

/// "mean", "whitening" and "distance", as work.proto's FitReferenceResult describes.
NamedTensors GaussianTensors(const Gaussian& gaussian);

/// The inverse; shrinkage and count are not kept. INVALID_ARGUMENT, starting with `name`, for tensors that
/// are missing or do not fit each other.
absl::StatusOr<Gaussian> ParseGaussian(const NamedTensors& tensors, const std::string& name);

}  // namespace rsidiff::worker
