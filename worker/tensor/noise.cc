#include "worker/tensor/noise.h"

#include <vector>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>

namespace rsidiff::worker {

at::Tensor SampleNoise(absl::Span<const uint64_t> seeds, at::IntArrayRef item_shape) {
  std::vector<at::Tensor> rows;
  rows.reserve(seeds.size());
  for (uint64_t seed : seeds) {
    at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
    rows.push_back(at::randn(item_shape, generator, at::TensorOptions().dtype(at::kFloat)));
  }
  if (rows.empty()) {
    std::vector<int64_t> shape = item_shape.vec();
    shape.insert(shape.begin(), 0);
    return at::empty(shape, at::kFloat);
  }
  return at::stack(rows);
}

}  // namespace rsidiff::worker
