// feature_tool FEATURES... --reference FEATURES...: fits a Gaussian to the first files' "features" (each file
// a block), measures the second set against it and against the rows themselves, and prints one JSON object.

#include <ATen/ATen.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "worker/phase/feature_statistics.h"
#include "worker/phase/gaussian.h"
#include "worker/phase/neighbours.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {
namespace {

std::vector<double> Values(const at::Tensor& tensor) {
  at::Tensor flat = tensor.to(at::kDouble).contiguous().view(-1);
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

int Main(int argc, char** argv) {
  std::vector<at::Tensor> fitted;
  std::vector<at::Tensor> other;
  bool reference = false;
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--reference") {
      reference = true;
      continue;
    }
    auto file = SafetensorsFile::Open(argv[i]);
    if (!file.ok()) return 1;
    (reference ? other : fitted).push_back((*file)->Get("features").value());
  }
  std::vector<Moments> moments;
  for (const at::Tensor& block : fitted) moments.push_back(ComputeMoments(block).value());
  at::Tensor first = at::cat(fitted);
  auto gaussian = FitGaussian(MergeMoments(moments).value(), first);
  if (!gaussian.ok()) {
    std::fprintf(stderr, "%s\n", std::string(gaussian.status().message()).c_str());
    return 1;
  }
  at::Tensor second = at::cat(other);
  auto neighbours = FitNeighbours(first, 4).value();
  nlohmann::json out = {{"mean", Values(gaussian->mean)},
                        {"whitening", Values(gaussian->whitening)},
                        {"shrinkage", gaussian->shrinkage},
                        {"distance_mean", gaussian->distance_mean},
                        {"distance_stddev", gaussian->distance_stddev},
                        {"distances", Values(MahalanobisDistances(*gaussian, second))},
                        {"neighbour_mean", neighbours.distance_mean},
                        {"neighbour_stddev", neighbours.distance_stddev},
                        {"own_neighbours", Values(NeighbourDistances(neighbours.features, first, 4))},
                        {"neighbours", Values(NeighbourDistances(neighbours.features, second, 4))},
                        {"diversity", MeanPairwiseCosineDistance(first)},
                        {"frechet", FrechetDistance(first, second).value()}};
  std::printf("%s\n", out.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace rsidiff::worker

int main(int argc, char** argv) {
  return rsidiff::worker::Main(argc, argv);
}
