#include "worker/phase/gaussian.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace rsidiff::worker {
namespace {

constexpr double kLeastShrinkage = 0.01;
// Features are fp32: a variance this far below their squared length is the rounding of their mean.
constexpr double kNoVariance = 1e-20;

// Ledoit and Wolf's optimal intensity, in the form of scikit-learn's ledoit_wolf_shrinkage.
double LedoitWolfShrinkage(const Moments& moments, const at::Tensor& covariance) {
  if (moments.mean.size(0) == 1) return 0.0;
  const double d = static_cast<double>(moments.mean.size(0));
  const double n = static_cast<double>(moments.count);
  const double mu = covariance.trace().item<double>() / d;
  const double squared_norm = covariance.square().sum().item<double>();
  const double delta = (squared_norm - d * mu * mu) / d;
  const double beta = std::min((moments.fourth / n - squared_norm) / (d * n), delta);
  return beta <= 0.0 ? 0.0 : beta / delta;
}

struct Shrunk {
  at::Tensor cholesky;
  double shrinkage;
};

absl::StatusOr<Shrunk> Factorize(const at::Tensor& covariance, double shrinkage) {
  const double mu = covariance.trace().item<double>() / static_cast<double>(covariance.size(0));
  for (double s : {shrinkage, std::max(shrinkage, kLeastShrinkage)}) {
    at::Tensor shrunk = covariance * (1.0 - s);
    shrunk.diagonal().add_(s * mu);
    auto [factor, info] = at::linalg_cholesky_ex(shrunk);
    // A pivot at rounding level is a singular matrix too.
    bool definite =
        info.item<int32_t>() == 0 && factor.diagonal().min().item<double>() > 1e-7 * std::sqrt(mu);
    if (definite) return Shrunk{factor, s};
  }
  return absl::InternalError("the covariance of the features has no Cholesky factor");
}

absl::Status CheckSet(const Moments& moments, const at::Tensor& rows) {
  if (moments.count < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("a Gaussian needs at least two samples, not ", moments.count,
                     ": give more prompts or a larger sampling.samples_per_prompt, or set weights.method to "
                     "uniform"));
  }
  if (rows.dim() != 2 || rows.size(0) == 0 || rows.size(1) != moments.mean.size(0)) {
    return absl::InvalidArgumentError(absl::StrCat("the reference's features have row length ", rows.size(-1),
                                                   ", their moments ", moments.mean.size(0)));
  }
  const double variance = moments.scatter.trace().item<double>() / static_cast<double>(moments.count);
  if (!(variance > kNoVariance * moments.mean.square().sum().item<double>())) {
    return absl::InvalidArgumentError(
        absl::StrCat("the features have no variance: all ", moments.count,
                     " samples look the same; set weights.method to uniform or preference"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Gaussian> FitGaussian(const Moments& moments, const at::Tensor& rows) {
  RSIDIFF_RETURN_IF_ERROR(CheckSet(moments, rows));
  const at::Tensor covariance = moments.scatter / static_cast<double>(moments.count);
  RSIDIFF_ASSIGN_OR_RETURN(Shrunk shrunk, Factorize(covariance, LedoitWolfShrinkage(moments, covariance)));
  Gaussian gaussian;
  gaussian.mean = moments.mean;
  gaussian.shrinkage = shrunk.shrinkage;
  gaussian.count = static_cast<uint64_t>(moments.count);
  at::Tensor identity = at::eye(moments.mean.size(0), moments.mean.options());
  gaussian.whitening = at::linalg_solve_triangular(shrunk.cholesky, identity, /*upper=*/false, /*left=*/true,
                                                   /*unitriangular=*/false);
  const at::Tensor own = MahalanobisDistances(gaussian, rows);
  gaussian.distance_mean = own.mean().item<double>();
  const double stddev = own.std(/*unbiased=*/false).item<double>();
  gaussian.distance_stddev = stddev > 1e-9 * gaussian.distance_mean ? stddev : 1.0;
  return gaussian;
}

at::Tensor MahalanobisDistances(const Gaussian& gaussian, const at::Tensor& features) {
  at::Tensor centred = features.to(at::kDouble) - gaussian.mean;
  return centred.mm(gaussian.whitening.t()).square().sum(1).sqrt();
}

at::Tensor StandardizedDistances(const Gaussian& gaussian, const at::Tensor& features) {
  return (MahalanobisDistances(gaussian, features) - gaussian.distance_mean) / gaussian.distance_stddev;
}

NamedTensors GaussianTensors(const Gaussian& gaussian) {
  at::Tensor distance = at::empty({2}, gaussian.mean.options());
  distance[0] = gaussian.distance_mean;
  distance[1] = gaussian.distance_stddev;
  return {{"mean", gaussian.mean}, {"whitening", gaussian.whitening}, {"distance", distance}};
}

absl::StatusOr<Gaussian> ParseGaussian(const NamedTensors& tensors, const std::string& name) {
  Gaussian gaussian;
  at::Tensor distance;
  for (const auto& [key, tensor] : tensors) {
    if (key == "mean") gaussian.mean = tensor;
    if (key == "whitening") gaussian.whitening = tensor;
    if (key == "distance") distance = tensor;
  }
  auto is = [](const at::Tensor& tensor, at::IntArrayRef shape) {
    return tensor.defined() && tensor.scalar_type() == at::kDouble && tensor.sizes() == shape;
  };
  bool fits = gaussian.mean.defined() && gaussian.mean.dim() == 1 &&
              is(gaussian.mean, gaussian.mean.sizes()) &&
              is(gaussian.whitening, {gaussian.mean.size(0), gaussian.mean.size(0)}) && is(distance, {2});
  if (!fits) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, " is no reference: mean [D], whitening [D, D] and distance [2] in fp64 are expected"));
  }
  gaussian.distance_mean = distance[0].item<double>();
  gaussian.distance_stddev = distance[1].item<double>();
  return gaussian;
}

}  // namespace rsidiff::worker
