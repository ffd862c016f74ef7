#include "worker/scorer/aesthetic_score.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "worker/scorer/clip_definition.h"
#include "worker/scorer/clip_score.h"
#include "worker/tensor/json_config.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {
namespace {

// Places of the linear layers in the original torch.nn.Sequential; the others are dropout.
constexpr int kLayers[] = {0, 2, 4, 6, 7};

const std::vector<int64_t> kPinnedSizes = {1024, 128, 64, 16, 1};

/// y = weight x + bias.
struct Affine {
  at::Tensor weight;  // fp64 [out, in]
  at::Tensor bias;    // fp64 [out]
};

absl::StatusOr<at::Tensor> TakeDouble(const SafetensorsFile& file, const std::string& name,
                                      int64_t dimensions) {
  RSIDIFF_ASSIGN_OR_RETURN(const at::Tensor tensor, file.Get(name));
  if (!tensor.is_floating_point() || tensor.dim() != dimensions) {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": ", name, " should be floating point with ",
                                                   dimensions, " dimensions, not [",
                                                   absl::StrJoin(tensor.sizes(), ", "), "]"));
  }
  return tensor.to(at::kDouble);
}

absl::StatusOr<Affine> LoadLayer(const SafetensorsFile& file, int layer, int64_t inputs) {
  const std::string path = absl::StrCat("layers.", layer);
  Affine affine;
  RSIDIFF_ASSIGN_OR_RETURN(affine.weight, TakeDouble(file, path + ".weight", 2));
  RSIDIFF_ASSIGN_OR_RETURN(affine.bias, TakeDouble(file, path + ".bias", 1));
  if (affine.weight.size(1) != inputs || affine.bias.size(0) != affine.weight.size(0)) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), ": ", path, " does not follow on ", inputs, " inputs: weight [",
                     absl::StrJoin(affine.weight.sizes(), ", "), "], bias [", affine.bias.size(0), "]"));
  }
  return affine;
}

/// The layers' composition. `sizes` gets the width behind each.
struct Layers {
  Affine affine;
  std::vector<int64_t> sizes;
};

absl::StatusOr<Layers> LoadLayers(const SafetensorsFile& file, int64_t feature_size) {
  Layers head;
  head.affine = {at::eye(feature_size, at::kDouble), at::zeros({feature_size}, at::kDouble)};
  for (int layer : kLayers) {
    RSIDIFF_ASSIGN_OR_RETURN(const Affine next, LoadLayer(file, layer, head.affine.weight.size(0)));
    head.affine = {next.weight.mm(head.affine.weight), next.weight.mv(head.affine.bias) + next.bias};
    head.sizes.push_back(next.weight.size(0));
  }
  if (head.sizes.back() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), ": the last layer should give one number, not ", head.sizes.back()));
  }
  if (const size_t surplus = file.names().size() - 2 * std::size(kLayers); surplus != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        file.path(), ": tensors beside layers.{0,2,4,6,7}: ", absl::StrJoin(file.names(), ", ")));
  }
  return head;
}

/// The scorer whose head it is; may be empty.
absl::StatusOr<std::string> CheckConfig(const std::filesystem::path& file, int64_t feature_size,
                                        const std::vector<int64_t>& sizes) {
  RSIDIFF_ASSIGN_OR_RETURN(JsonConfig json, JsonConfig::Load(file));
  const std::string scorer = json.String("_scorer", "");
  if (const int64_t input_size = json.Int("input_size", feature_size); input_size != feature_size) {
    json.AddProblem(
        absl::StrCat("input_size is not the CLIP model's projection_dim: ", input_size, ", ", feature_size));
  }
  if (json.Ints("layer_sizes", sizes) != sizes) {
    json.AddProblem(
        absl::StrCat("layer_sizes differ from the weights, which have ", absl::StrJoin(sizes, ", ")));
  }
  json.RequireValue("linear_keys", {R"(["layers.0", "layers.2", "layers.4", "layers.6", "layers.7"])"});
  // Descriptions; dropout, which does nothing outside training; and the name of a folder that the caller
  // gives.
  json.Ignore({"architecture", "architectures", "model_type", "input", "clip", "dropout", "range"});
  RSIDIFF_RETURN_IF_ERROR(json.CheckAllRead());
  return scorer;
}

}  // namespace

absl::StatusOr<AestheticHead> LoadAestheticHead(const std::filesystem::path& folder, int64_t feature_size,
                                                AestheticShape shape) {
  RSIDIFF_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(folder / "model.safetensors"));
  RSIDIFF_ASSIGN_OR_RETURN(const Layers layers, LoadLayers(*file, feature_size));
  if (shape == AestheticShape::kPinned && layers.sizes != kPinnedSizes) {
    return absl::InvalidArgumentError(absl::StrCat(file->path(), ": layers of ",
                                                   absl::StrJoin(layers.sizes, ", "), " outputs, not of ",
                                                   absl::StrJoin(kPinnedSizes, ", ")));
  }
  if (std::filesystem::exists(folder / "config.json")) {
    RSIDIFF_ASSIGN_OR_RETURN(const std::string scorer,
                             CheckConfig(folder / "config.json", feature_size, layers.sizes));
    if (shape == AestheticShape::kPinned) {
      RSIDIFF_RETURN_IF_ERROR(Annotate(CheckScorerName(scorer, "aesthetic-v2"), folder.string()));
    }
  }
  return AestheticHead{layers.affine.weight.to(at::kFloat), layers.affine.bias.item<double>()};
}

AestheticScore::AestheticScore(AestheticHead head, std::shared_ptr<const ImageEncoder> images)
    : head_(std::move(head)), images_(std::move(images)) {}

absl::StatusOr<std::vector<double>> AestheticScore::Score(ScoreBatch& batch) {
  RSIDIFF_ASSIGN_OR_RETURN(const at::Tensor features, batch.ImageFeatures(*images_));
  std::vector<double> scores = RowDots(features, head_.direction);
  for (double& score : scores) score += head_.bias;
  return scores;
}

absl::StatusOr<at::Tensor> AestheticScore::ImageFeatures(ScoreBatch& batch) {
  return batch.ImageFeatures(*images_);
}

}  // namespace rsidiff::worker
