#include "worker/phase/neighbours.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "common/run/distance.h"

namespace rsidiff::worker {
namespace {

// Rows compared at a time, so that memory grows with the reference and not with its square.
constexpr int64_t kRows = 512;
constexpr double kItself = 1e-3;

absl::Status CheckCount(int64_t rows, uint32_t neighbours) {
  if (rows > static_cast<int64_t>(neighbours)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("weights.neighbours is ", neighbours,
                                                 ", and the base model's samples are only ", rows,
                                                 ": more samples are needed than neighbours"));
}

}  // namespace

at::Tensor NeighbourDistances(const at::Tensor& reference, const at::Tensor& rows, uint32_t neighbours) {
  std::vector<at::Tensor> distances;
  for (int64_t begin = 0; begin < rows.size(0); begin += kRows) {
    const at::Tensor part = rows.slice(0, begin, std::min(begin + kRows, rows.size(0)));
    // From differences, not from |x|^2 + |y|^2 - 2xy, in which near rows cancel to noise.
    const at::Tensor all = at::_cdist_forward(part, reference, /*p=*/2, /*compute_mode=*/2);
    const at::Tensor nearest = std::get<0>(at::topk(all, neighbours + 1, /*dim=*/1, /*largest=*/false));
    const at::Tensor is_itself = nearest.select(1, 0) < kItself;
    distances.push_back(
        at::where(is_itself, nearest.select(1, neighbours), nearest.select(1, neighbours - 1)));
  }
  if (distances.empty()) return at::empty({0}, at::kDouble);
  return at::cat(distances).to(at::kDouble);
}

absl::StatusOr<NeighbourReference> FitNeighbours(const at::Tensor& features, uint32_t neighbours) {
  if (absl::Status status = CheckCount(features.size(0), neighbours); !status.ok()) return status;
  NeighbourReference reference;
  reference.features = features.to(at::kFloat).contiguous();
  const at::Tensor first = reference.features.slice(0, 0, kOwnDistances);
  const at::Tensor own = NeighbourDistances(reference.features, first, neighbours);
  reference.distance_mean = own.mean().item<double>();
  const double stddev = own.std(/*unbiased=*/false).item<double>();
  // fp32 distances that are equal but for rounding are equal.
  reference.distance_stddev = stddev > 1e-6 * reference.distance_mean ? stddev : 1.0;
  return reference;
}

at::Tensor StandardizedDistances(const NeighbourReference& reference, const at::Tensor& rows,
                                 uint32_t neighbours) {
  return (NeighbourDistances(reference.features, rows.to(at::kFloat), neighbours) - reference.distance_mean) /
         reference.distance_stddev;
}

NamedTensors NeighbourTensors(const NeighbourReference& reference) {
  at::Tensor distance = at::empty({2}, at::kDouble);
  distance[0] = reference.distance_mean;
  distance[1] = reference.distance_stddev;
  return {{"features", reference.features}, {"distance", distance}};
}

absl::StatusOr<NeighbourReference> ParseNeighbours(const NamedTensors& tensors, uint32_t neighbours,
                                                   const std::string& name) {
  NeighbourReference reference;
  at::Tensor distance;
  for (const auto& [key, tensor] : tensors) {
    if (key == "features") reference.features = tensor;
    if (key == "distance") distance = tensor;
  }
  const bool fits = reference.features.defined() && reference.features.dim() == 2 &&
                    reference.features.scalar_type() == at::kFloat && distance.defined() &&
                    distance.scalar_type() == at::kDouble && distance.sizes() == at::IntArrayRef{2};
  if (!fits) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, " is no reference: features [N, D] in fp32 and distance [2] in fp64 are expected"));
  }
  if (absl::Status status = CheckCount(reference.features.size(0), neighbours); !status.ok()) return status;
  reference.distance_mean = distance[0].item<double>();
  reference.distance_stddev = distance[1].item<double>();
  return reference;
}

}  // namespace rsidiff::worker
