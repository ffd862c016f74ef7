#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "worker/model/linear.h"
#include "worker/model/parameters.h"

namespace rsidiff::worker {

/// The square patches of a picture, each projected to a token, row by row: a convolution whose stride is its
/// kernel. Pixels that fill no patch, at the right and at the bottom, are left out.
struct PatchEmbedding {
  struct Shape {
    int64_t hidden_size;
    int64_t image_size;
    int64_t patch_size;
  };

  /// Takes "weight" [hidden, 3, patch, patch] and, with Bias::kYes, "bias" [hidden].
  PatchEmbedding(const ParameterScope& scope, const Shape& shape, Bias with_bias);

  /// [N, 3, image_size, image_size] to [N, count(), hidden]. Throws c10::Error for another shape.
  at::Tensor operator()(const at::Tensor& pixels) const;

  /// Tokens of a picture.
  int64_t count() const { return grid * grid; }

  Shape shape;
  int64_t grid;  ///< Patches a side.
  at::Tensor weight;
  at::Tensor bias;  ///< Undefined without bias.
};

}  // namespace rsidiff::worker
