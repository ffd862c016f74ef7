#include "worker/model/fused_projection.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace rsidiff::worker {

absl::StatusOr<NamedTensors> SplitFusedProjection(const std::string& name, const at::Tensor& fused,
                                                  absl::string_view scope, absl::string_view leaf) {
  if (fused.dim() < 1 || fused.size(0) % 3 != 0) {
    return absl::InvalidArgumentError(absl::StrCat(name, " should hold query, key and value, not [",
                                                   absl::StrJoin(fused.sizes(), ", "), "]"));
  }
  const int64_t rows = fused.size(0) / 3;
  NamedTensors parts;
  for (int64_t i = 0; i < 3; ++i) {
    const char* projection = i == 0 ? "q_proj" : i == 1 ? "k_proj" : "v_proj";
    parts.emplace_back(absl::StrCat(scope, ".", projection, ".", leaf), fused.narrow(0, i * rows, rows));
  }
  return parts;
}

}  // namespace rsidiff::worker
