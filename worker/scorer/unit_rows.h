#pragma once

#include <ATen/core/Tensor.h>

namespace rsidiff::worker {

/// fp32 [N, D]: each row of `embedding` over its L2 length. A row of zero length, which has no direction,
/// stays zero.
at::Tensor UnitRows(const at::Tensor& embedding);

}  // namespace rsidiff::worker
