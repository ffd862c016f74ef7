#include "worker/scorer/unit_rows.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

namespace rsidiff::worker {

at::Tensor UnitRows(const at::Tensor& embedding) {
  const at::Tensor lengths = embedding.norm(2, {1}, /*keepdim=*/true);
  return (embedding / lengths).masked_fill_(lengths == 0, 0);
}

}  // namespace rsidiff::worker
