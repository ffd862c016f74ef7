#include "worker/phase/weight.h"

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/phase/feature_file.h"
#include "worker/phase/gaussian.h"
#include "worker/phase/neighbours.h"

namespace rsidiff::worker {
namespace {

struct Reference {
  int64_t dimension = 0;
  std::function<at::Tensor(const at::Tensor&)> distances;  // of rows [n, D]: fp64 [n]
};

absl::StatusOr<Reference> ReadReference(const std::string& digest, const v1::WeightSpec& weights,
                                        ArtifactStore& store) {
  RSIDIFF_ASSIGN_OR_RETURN(const NamedTensors tensors, ReadTensors(store, digest));
  const std::string name = absl::StrCat("artifact ", digest);
  if (weights.method() == v1::WEIGHT_METHOD_KNN) {
    const uint32_t neighbours = weights.neighbours();
    RSIDIFF_ASSIGN_OR_RETURN(const NeighbourReference reference, ParseNeighbours(tensors, neighbours, name));
    return Reference{reference.features.size(1), [reference, neighbours](const at::Tensor& rows) {
                       return StandardizedDistances(reference, rows, neighbours);
                     }};
  }
  RSIDIFF_ASSIGN_OR_RETURN(const Gaussian gaussian, ParseGaussian(tensors, name));
  return Reference{gaussian.mean.size(0),
                   [gaussian](const at::Tensor& rows) { return StandardizedDistances(gaussian, rows); }};
}

// The features files that hold the rows, by digest.
absl::StatusOr<std::map<std::string, at::Tensor>> ReadFiles(const v1::WeightWork& work, ArtifactStore& store,
                                                            TaskControl& control) {
  std::map<std::string, at::Tensor> files;
  for (const v1::FeatureRow& row : work.rows()) files[row.features()];
  TaskParts parts(control, static_cast<int64_t>(files.size()) + 1);
  for (auto& [digest, features] : files) {
    RSIDIFF_RETURN_IF_ERROR(parts.Begin());
    RSIDIFF_ASSIGN_OR_RETURN(features, ReadFeatures(store, digest));
  }
  RSIDIFF_RETURN_IF_ERROR(parts.Begin());
  return files;
}

absl::StatusOr<at::Tensor> ReadRows(const v1::WeightWork& work, int64_t dimension, ArtifactStore& store,
                                    TaskControl& control) {
  RSIDIFF_ASSIGN_OR_RETURN(const auto files, ReadFiles(work, store, control));
  std::vector<at::Tensor> rows;
  for (int i = 0; i < work.rows_size(); ++i) {
    const v1::FeatureRow& row = work.rows(i);
    const at::Tensor& file = files.at(row.features());
    if (row.row() >= file.size(0) || file.size(1) != dimension) {
      return absl::InvalidArgumentError(absl::StrCat(
          "artifact ", row.features(), ": features [", file.size(0), ", ", file.size(1), "] have no row ",
          row.row(), " of length ", dimension, " for sample ", work.indices(i)));
    }
    rows.push_back(file[row.row()]);
  }
  return at::stack(rows);
}

}  // namespace

absl::StatusOr<v1::WeightResult> Weigh(const v1::WeightWork& work, const v1::WeightSpec& weights,
                                       ArtifactStore& store, TaskControl& control) {
  RSIDIFF_ASSIGN_OR_RETURN(const Reference reference, ReadReference(work.reference(), weights, store));
  v1::WeightResult result;
  if (work.rows().empty()) return result;
  RSIDIFF_ASSIGN_OR_RETURN(const at::Tensor rows, ReadRows(work, reference.dimension, store, control));
  const at::Tensor distances = reference.distances(rows).contiguous();
  const double* begin = distances.data_ptr<double>();
  result.mutable_distances()->Add(begin, begin + distances.numel());
  return result;
}

}  // namespace rsidiff::worker
