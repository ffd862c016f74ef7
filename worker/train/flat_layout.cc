#include "worker/train/flat_layout.h"

#include <ATen/ATen.h>

namespace rsidiff::worker {

FlatLayout FlatLayout::Of(const NamedTensors& tensors, int64_t bucket_bytes) {
  FlatLayout layout;
  layout.slots_.resize(tensors.size());
  int64_t length = 0;
  const auto close = [&] {
    if (length == 0) return;
    layout.lengths_.push_back((length + kAlignment - 1) / kAlignment * kAlignment);
    length = 0;
  };
  for (size_t i = tensors.size(); i-- > 0;) {
    const auto& [name, tensor] = tensors[i];
    TORCH_CHECK(tensor.is_non_overlapping_and_dense(), "parameter is not dense: ", name);
    Slot& slot = layout.slots_[i];
    slot.name = name;
    slot.sizes = tensor.sizes().vec();
    slot.strides = tensor.strides().vec();
    slot.bucket = layout.lengths_.size();
    slot.offset = length;
    constexpr int64_t kCacheLine = 16;  // elements; vector loads of neighbours never share one
    length += (tensor.numel() + kCacheLine - 1) / kCacheLine * kCacheLine;
    if (length * static_cast<int64_t>(sizeof(float)) >= bucket_bytes) close();
  }
  close();
  return layout;
}

std::vector<at::Tensor> FlatLayout::Allocate(at::Device device) const {
  std::vector<at::Tensor> flats;
  flats.reserve(lengths_.size());
  for (const int64_t length : lengths_) {
    flats.push_back(at::zeros({length}, at::TensorOptions().dtype(at::kFloat).device(device)));
  }
  return flats;
}

at::Tensor FlatLayout::View(const std::vector<at::Tensor>& flats, const Slot& slot) const {
  return flats[slot.bucket].as_strided(slot.sizes, slot.strides, slot.offset);
}

}  // namespace rsidiff::worker
