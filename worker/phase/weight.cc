#include "worker/phase/weight.h"

#include <map>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/phase/feature_file.h"
#include "worker/phase/gaussian.h"

namespace rsidiff::worker {

absl::StatusOr<v1::WeightResult> Weigh(const v1::WeightWork& work, ArtifactStore& store) {
  RSIDIFF_ASSIGN_OR_RETURN(std::string bytes, store.Get(work.reference()));
  const std::string name = absl::StrCat("artifact ", work.reference());
  RSIDIFF_ASSIGN_OR_RETURN(NamedTensors tensors, ParseSafetensors(std::move(bytes), name));
  RSIDIFF_ASSIGN_OR_RETURN(Gaussian gaussian, ParseGaussian(tensors, name));
  std::map<std::string, at::Tensor> files;
  std::vector<at::Tensor> rows;
  for (int i = 0; i < work.rows_size(); ++i) {
    const v1::FeatureRow& row = work.rows(i);
    at::Tensor& file = files[row.features()];
    if (!file.defined()) {
      RSIDIFF_ASSIGN_OR_RETURN(file, ReadFeatures(store, row.features()));
    }
    if (row.row() >= file.size(0) || file.size(1) != gaussian.mean.size(0)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "artifact ", row.features(), ": features [", file.size(0), ", ", file.size(1), "] have no row ",
          row.row(), " of length ", gaussian.mean.size(0), " for sample ", work.indices(i)));
    }
    rows.push_back(file[row.row()]);
  }
  v1::WeightResult result;
  if (rows.empty()) return result;
  at::Tensor distances = StandardizedDistances(gaussian, at::stack(rows)).contiguous();
  const double* begin = distances.data_ptr<double>();
  result.mutable_distances()->Add(begin, begin + distances.numel());
  return result;
}

}  // namespace rsidiff::worker
