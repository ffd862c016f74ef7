#include "worker/phase/feature_statistics.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"

namespace rsidiff::worker {
namespace {

at::Tensor Covariance(const at::Tensor& features, const at::Tensor& mean) {
  if (features.size(0) < 2) return at::zeros({features.size(1), features.size(1)}, features.options());
  at::Tensor centred = features - mean;
  return centred.t().mm(centred) / static_cast<double>(features.size(0) - 1);
}

// Of a symmetric positive semi-definite matrix.
at::Tensor SquareRoot(const at::Tensor& matrix) {
  auto [values, vectors] = at::linalg_eigh(matrix);
  return (vectors * values.clamp_min(0.0).sqrt()).mm(vectors.t());
}

}  // namespace

double MeanPairwiseCosineDistance(const at::Tensor& features) {
  const double n = static_cast<double>(features.size(0));
  if (features.size(0) < 2) return 0.0;
  at::Tensor rows = features.to(at::kDouble);
  rows = rows / rows.norm(2, {1}, /*keepdim=*/true).clamp_min(1e-12);
  // sum over ordered pairs i != j of <x_i, x_j> = |sum x|^2 - sum |x|^2
  double similarity = rows.sum(0).square().sum().item<double>() - rows.square().sum().item<double>();
  return std::max(0.0, 1.0 - similarity / (n * (n - 1.0)));
}

absl::StatusOr<double> FrechetDistance(const at::Tensor& first, const at::Tensor& second) {
  if (first.dim() != 2 || second.dim() != 2 || first.size(1) != second.size(1) || first.size(0) == 0 ||
      second.size(0) == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("Fréchet distance needs two non-empty sets of equal row length, not ", first.size(0),
                     " x ", first.size(-1), " and ", second.size(0), " x ", second.size(-1)));
  }
  at::Tensor x = first.to(at::kDouble);
  at::Tensor y = second.to(at::kDouble);
  if (!at::isfinite(x).all().item<bool>() || !at::isfinite(y).all().item<bool>()) {
    return absl::InvalidArgumentError("Fréchet distance of features that are not finite");
  }
  at::Tensor mean_x = x.mean(0);
  at::Tensor mean_y = y.mean(0);
  at::Tensor covariance_x = Covariance(x, mean_x);
  at::Tensor covariance_y = Covariance(y, mean_y);
  at::Tensor root_x = SquareRoot(covariance_x);
  at::Tensor product = root_x.mm(covariance_y).mm(root_x);
  product = (product + product.t()) / 2.0;
  double cross = at::linalg_eigvalsh(product).clamp_min(0.0).sqrt().sum().item<double>();
  double distance = (mean_x - mean_y).square().sum().item<double>() + covariance_x.trace().item<double>() +
                    covariance_y.trace().item<double>() - 2.0 * cross;
  return std::max(0.0, distance);
}

}  // namespace rsidiff::worker
