#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {

/// Where each of many tensors lies within a few flat fp32 tensors ("buckets"). The optimizer, the EMA, the
/// all-reduce and the transfer of the state then work on a few long vectors, while every tensor stays
/// visible as a view under its own name.
///
/// Buckets are filled from the last tensor to the first: the order in which backward completes gradients,
/// so the first bucket can travel while the others are still being computed.
class FlatLayout {
 public:
  struct Slot {
    std::string name;
    std::vector<int64_t> sizes;
    std::vector<int64_t> strides;  // of the dense original (rows or channels last)
    size_t bucket = 0;
    int64_t offset = 0;  // elements
  };

  /// `tensors` are dense. A bucket is closed when it exceeds `bucket_bytes`.
  static FlatLayout Of(const NamedTensors& tensors, int64_t bucket_bytes);

  /// One zeroed fp32 tensor a bucket. Lengths are multiples of kAlignment; the gaps stay zero.
  std::vector<at::Tensor> Allocate(at::Device device) const;

  /// `slot`'s part of `flats`, with the tensor's own sizes and strides; shares the memory.
  at::Tensor View(const std::vector<at::Tensor>& flats, const Slot& slot) const;

  /// In the order of the tensors given to Of().
  const std::vector<Slot>& slots() const { return slots_; }
  size_t bucket_count() const { return lengths_.size(); }

  static constexpr int64_t kAlignment = 1024;  // elements

 private:
  std::vector<Slot> slots_;
  std::vector<int64_t> lengths_;
};

}  // namespace rsidiff::worker
