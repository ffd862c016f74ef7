#pragma once

#include <cstdint>
#include <string>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {

/// A reference set of image features itself, and how far its own samples lie from their k-th neighbour.
struct NeighbourReference {
  at::Tensor features;           // [N, D] fp32 on the CPU
  double distance_mean = 0.0;    // of the reference's own distances, to the k-th neighbour
  double distance_stddev = 1.0;  // population form; 1 where the distances are all equal
};

/// The reference's own distances are those of its first 16'384 rows to all of them. INVALID_ARGUMENT: not
/// more rows than `neighbours`.
absl::StatusOr<NeighbourReference> FitNeighbours(const at::Tensor& features, uint32_t neighbours);

/// Euclidean distance of each row of `rows` [n, D] to its `neighbours`-th nearest row of `reference` [N, D],
/// N > `neighbours`: fp64 [n]. A row that is part of the reference is not its own neighbour: the nearest one
/// is left out where it is nearer than 1e-3 (unit rows in fp32 are told apart from there on).
at::Tensor NeighbourDistances(const at::Tensor& reference, const at::Tensor& rows, uint32_t neighbours);

/// (distance - distance_mean) / distance_stddev of each row.
at::Tensor StandardizedDistances(const NeighbourReference& reference, const at::Tensor& rows,
                                 uint32_t neighbours);

/// "features" and "distance", as work.proto's FitReferenceResult describes.
NamedTensors NeighbourTensors(const NeighbourReference& reference);

/// The inverse. INVALID_ARGUMENT, starting with `name`, for tensors that are missing or out of form, or for
/// no more rows than `neighbours`.
absl::StatusOr<NeighbourReference> ParseNeighbours(const NamedTensors& tensors, uint32_t neighbours,
                                                   const std::string& name);

}  // namespace rsidiff::worker
