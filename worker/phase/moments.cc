#include "worker/phase/moments.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"

namespace rsidiff::worker {
namespace {

absl::Status CheckSets(absl::Span<const Moments> sets) {
  if (sets.empty()) return absl::InvalidArgumentError("there are no moments");
  const int64_t dimension = sets.front().mean.size(0);
  for (size_t i = 0; i < sets.size(); ++i) {
    if (sets[i].mean.size(0) == dimension) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("moments ", i, " have row length ", sets[i].mean.size(0), ", not ", dimension));
  }
  return absl::OkStatus();
}

// Adds `set`, whose mean lies `shift` from that of `all`, to the sums of `all`: those of y + shift, in which
// every term with a single sum of y is zero.
void Add(const Moments& set, const at::Tensor& shift, Moments& all) {
  const double n = static_cast<double>(set.count);
  const at::Tensor turned = set.scatter.mv(shift);
  const double trace = set.scatter.trace().item<double>();
  const double squared = shift.dot(shift).item<double>();
  all.scatter.add_(set.scatter).addr_(shift, shift, 1, n);
  all.third.add_(set.third).add_(turned, 2.0).add_(shift, trace + n * squared);
  all.fourth += set.fourth + 4.0 * shift.dot(turned).item<double>() +
                4.0 * shift.dot(set.third).item<double>() + 2.0 * squared * trace + n * squared * squared;
}

bool Is(const at::Tensor& tensor, at::IntArrayRef shape) {
  return tensor.defined() && tensor.scalar_type() == at::kDouble && tensor.sizes() == shape;
}

bool IsFinite(const at::Tensor& tensor) {
  return at::isfinite(tensor).all().item<bool>();
}

}  // namespace

absl::StatusOr<Moments> ComputeMoments(const at::Tensor& features) {
  if (features.dim() != 2 || features.size(0) == 0) {
    return absl::InvalidArgumentError(absl::StrCat("features have ", features.dim(), " dimensions and ",
                                                   features.size(0), " rows: there is nothing to fit"));
  }
  const at::Tensor rows = features.to(at::kDouble);
  if (!IsFinite(rows)) {
    return absl::InvalidArgumentError("features are not finite");
  }
  Moments moments;
  moments.count = rows.size(0);
  moments.mean = rows.mean(0);
  const at::Tensor centred = rows - moments.mean;
  const at::Tensor squares = centred.square().sum(1);
  moments.scatter = centred.t().mm(centred);
  moments.third = centred.t().mv(squares);
  moments.fourth = squares.square().sum().item<double>();
  return moments;
}

absl::StatusOr<Moments> MergeMoments(absl::Span<const Moments> sets) {
  if (absl::Status status = CheckSets(sets); !status.ok()) return status;
  Moments all;
  all.mean = at::zeros_like(sets.front().mean);
  for (const Moments& set : sets) {
    all.count += set.count;
    all.mean.add_(set.mean, static_cast<double>(set.count));
  }
  all.mean.div_(static_cast<double>(all.count));
  all.scatter = at::zeros_like(sets.front().scatter);
  all.third = at::zeros_like(all.mean);
  for (const Moments& set : sets) Add(set, set.mean - all.mean, all);
  return all;
}

NamedTensors MomentsTensors(const Moments& moments) {
  const auto options = moments.mean.options();
  return {{"mean", moments.mean},
          {"scatter", moments.scatter},
          {"third", moments.third},
          {"fourth", at::full({1}, moments.fourth, options)},
          {"count", at::full({1}, static_cast<double>(moments.count), options)}};
}

absl::StatusOr<Moments> ParseMoments(const NamedTensors& tensors, const std::string& name) {
  Moments moments;
  at::Tensor fourth;
  at::Tensor count;
  for (const auto& [key, tensor] : tensors) {
    if (key == "mean") moments.mean = tensor;
    if (key == "scatter") moments.scatter = tensor;
    if (key == "third") moments.third = tensor;
    if (key == "fourth") fourth = tensor;
    if (key == "count") count = tensor;
  }
  const int64_t dimension = moments.mean.defined() && moments.mean.dim() == 1 ? moments.mean.size(0) : 0;
  const bool fit = dimension > 0 && Is(moments.mean, {dimension}) &&
                   Is(moments.scatter, {dimension, dimension}) && Is(moments.third, {dimension}) &&
                   Is(fourth, {1}) && Is(count, {1}) && count.item<double>() >= 1 && IsFinite(moments.mean) &&
                   IsFinite(moments.scatter) && IsFinite(moments.third) && IsFinite(fourth) &&
                   IsFinite(count);
  if (!fit) {
    return absl::InvalidArgumentError(
        absl::StrCat(name,
                     " is no moments: mean [D], scatter [D, D], third [D], fourth [1] and count [1] in "
                     "finite fp64 are expected"));
  }
  moments.fourth = fourth.item<double>();
  moments.count = static_cast<int64_t>(count.item<double>());
  return moments;
}

}  // namespace rsidiff::worker
