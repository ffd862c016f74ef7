#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

namespace rsidiff::worker {

/// A convolution on the CPU without gradients, whose weights are kept in the layout that oneDNN computes in.
/// at::conv2d brings them into it at every call, which for small feature maps is a third of the time
/// (docs/decisions/0010-channels-last-inference.md). The copy takes the place of weights that were mapped
/// from a file, and stands beside others. Not thread-safe.
class PackedConvolution {
 public:
  struct Stride {
    int64_t stride = 1;
    int64_t padding = 0;
  };

  /// Whether this way is open and worth it for x [N, C, h, w] and `weight` [out, C, k, k]: fp32 on the CPU,
  /// no gradient recorded, a small map, and a torch with oneDNN.
  static bool Serves(const at::Tensor& x, const at::Tensor& weight);

  /// What at::conv2d gives, channels last. Weights that have changed since the last call are noticed, as long
  /// as they are changed through torch.
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                        const Stride& stride);

 private:
  at::Tensor packed_;
  std::vector<int64_t> packed_for_;  // x's sizes, on which the best layout depends
  uint32_t weight_version_ = 0;
};

}  // namespace rsidiff::worker
