#pragma once

#include <ATen/core/Tensor.h>

#include "worker/model/linear.h"

namespace rsidiff::worker {

/// value · gelu(gate) over the halves of projection(x) (Shazeer, arXiv 2002.05202; diffusers' GEGLU).
/// x [..., in] to [..., out / 2]. Where nothing records a gradient on an fp32 processor, oneDNN computes the
/// gate and its gelu in one pass.
at::Tensor Geglu(const Linear& projection, const at::Tensor& x);

}  // namespace rsidiff::worker
