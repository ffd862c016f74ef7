#include "worker/phase/gaussian.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace rsidiff::worker {
namespace {

constexpr double kLeastShrinkage = 0.01;

absl::StatusOr<at::Tensor> ReadBlock(const FeatureBlocks& features, size_t index, int64_t dimension) {
  RSIDIFF_ASSIGN_OR_RETURN(at::Tensor block, features.read(index));
  if (block.dim() != 2 || (dimension > 0 && block.size(1) != dimension)) {
    return absl::InvalidArgumentError(absl::StrCat("features of block ", index, " have ", block.dim(),
                                                   " dimensions and row length ", block.size(-1), ", not ",
                                                   dimension));
  }
  block = block.to(at::kDouble);
  if (!at::isfinite(block).all().item<bool>()) {
    return absl::InvalidArgumentError(absl::StrCat("features of block ", index, " are not finite"));
  }
  return block;
}

struct Moments {
  at::Tensor mean;
  at::Tensor covariance;       // about the mean, divided by the count
  double fourth_moment = 0.0;  // mean over rows of |x - mean|^4
  int64_t count = 0;
};

absl::StatusOr<Moments> ComputeMoments(const FeatureBlocks& features) {
  Moments moments;
  at::Tensor sum;
  for (size_t i = 0; i < features.blocks; ++i) {
    RSIDIFF_ASSIGN_OR_RETURN(at::Tensor block, ReadBlock(features, i, sum.defined() ? sum.size(0) : 0));
    moments.count += block.size(0);
    sum = sum.defined() ? sum + block.sum(0) : block.sum(0);
  }
  if (moments.count < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("a Gaussian needs at least two samples, not ", moments.count));
  }
  const double n = static_cast<double>(moments.count);
  moments.mean = sum / n;
  moments.covariance = at::zeros({sum.size(0), sum.size(0)}, sum.options());
  for (size_t i = 0; i < features.blocks; ++i) {
    RSIDIFF_ASSIGN_OR_RETURN(at::Tensor block, ReadBlock(features, i, sum.size(0)));
    at::Tensor centred = block - moments.mean;
    moments.covariance.add_(centred.t().mm(centred), 1.0 / n);
    moments.fourth_moment += centred.square().sum(1).square().sum().item<double>() / n;
  }
  return moments;
}

// Ledoit and Wolf's optimal intensity, in the form of scikit-learn's ledoit_wolf_shrinkage.
double LedoitWolfShrinkage(const Moments& moments) {
  const double d = static_cast<double>(moments.mean.size(0));
  if (moments.mean.size(0) == 1) return 0.0;
  const double n = static_cast<double>(moments.count);
  const double mu = moments.covariance.trace().item<double>() / d;
  const double squared_norm = moments.covariance.square().sum().item<double>();
  const double delta = (squared_norm - d * mu * mu) / d;
  const double beta = std::min((moments.fourth_moment - squared_norm) / (d * n), delta);
  return beta <= 0.0 ? 0.0 : beta / delta;
}

struct Shrunk {
  at::Tensor cholesky;
  double shrinkage;
};

absl::StatusOr<Shrunk> Factorize(const Moments& moments, double shrinkage) {
  const double mu = moments.covariance.trace().item<double>() / static_cast<double>(moments.mean.size(0));
  if (!(mu > 0.0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the features have no variance: all ", moments.count, " samples look the same"));
  }
  for (double s : {shrinkage, std::max(shrinkage, kLeastShrinkage)}) {
    at::Tensor covariance = moments.covariance * (1.0 - s);
    covariance.diagonal().add_(s * mu);
    auto [factor, info] = at::linalg_cholesky_ex(covariance);
    // A pivot at rounding level is a singular matrix too.
    bool definite =
        info.item<int32_t>() == 0 && factor.diagonal().min().item<double>() > 1e-7 * std::sqrt(mu);
    if (definite) return Shrunk{factor, s};
  }
  return absl::InternalError("the covariance of the features has no Cholesky factor");
}

}  // namespace

absl::StatusOr<Gaussian> FitGaussian(const FeatureBlocks& features) {
  RSIDIFF_ASSIGN_OR_RETURN(Moments moments, ComputeMoments(features));
  RSIDIFF_ASSIGN_OR_RETURN(Shrunk shrunk, Factorize(moments, LedoitWolfShrinkage(moments)));
  Gaussian gaussian;
  gaussian.mean = moments.mean;
  gaussian.shrinkage = shrunk.shrinkage;
  gaussian.count = static_cast<uint64_t>(moments.count);
  at::Tensor identity = at::eye(moments.mean.size(0), moments.mean.options());
  gaussian.whitening = at::linalg_solve_triangular(shrunk.cholesky, identity, /*upper=*/false, /*left=*/true,
                                                   /*unitriangular=*/false);

  std::vector<at::Tensor> distances;
  for (size_t i = 0; i < features.blocks; ++i) {
    RSIDIFF_ASSIGN_OR_RETURN(at::Tensor block, ReadBlock(features, i, moments.mean.size(0)));
    distances.push_back(MahalanobisDistances(gaussian, block));
  }
  at::Tensor all = at::cat(distances);
  gaussian.distance_mean = all.mean().item<double>();
  double stddev = all.std(/*unbiased=*/false).item<double>();
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
