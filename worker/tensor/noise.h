#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "absl/types/span.h"

namespace rsidiff::worker {

/// Start noise of samples: row i is what `torch.randn(item_shape,
/// generator=torch.Generator().manual_seed(seeds[i]))` draws in Python, so it depends on its own seed and
/// nothing else. fp32 on the CPU, [seeds.size(), ...item_shape]. diffusers draws the same for a list of CPU
/// generators.
at::Tensor SampleNoise(absl::Span<const uint64_t> seeds, at::IntArrayRef item_shape);

}  // namespace rsidiff::worker
