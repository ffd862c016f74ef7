#include "worker/model/patch_embedding.h"

#include <ATen/Functions.h>

namespace rsidiff::worker {

PatchEmbedding::PatchEmbedding(const ParameterScope& scope, const Shape& shape, Bias with_bias)
    : shape(shape),
      grid(shape.image_size / shape.patch_size),
      weight(scope.Take("weight", {shape.hidden_size, 3, shape.patch_size, shape.patch_size})) {
  if (with_bias == Bias::kYes) bias = scope.Take("bias", {shape.hidden_size});
}

at::Tensor PatchEmbedding::operator()(const at::Tensor& pixels) const {
  TORCH_CHECK(pixels.dim() == 4 && pixels.size(1) == 3 && pixels.size(2) == shape.image_size &&
                  pixels.size(3) == shape.image_size,
              "pixels should be [N, 3, ", shape.image_size, ", ", shape.image_size, "], not ",
              pixels.sizes());
  // One matrix product over the patches; and unlike a convolution's, a matrix product's bits for one picture
  // do not depend on the batch size.
  const int64_t covered = grid * shape.patch_size;
  const at::Tensor patches = pixels.narrow(2, 0, covered)
                                 .narrow(3, 0, covered)
                                 .unflatten(3, {grid, shape.patch_size})
                                 .unflatten(2, {grid, shape.patch_size})
                                 .permute({0, 2, 4, 1, 3, 5})
                                 .flatten(3)
                                 .flatten(1, 2);  // [N, grid * grid, 3 * patch * patch]
  return at::linear(patches, weight.flatten(1),
                    bias.defined() ? c10::optional<at::Tensor>(bias) : c10::nullopt);
}

}  // namespace rsidiff::worker
