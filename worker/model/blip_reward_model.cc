#include "worker/model/blip_reward_model.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "worker/model/fused_projection.h"

namespace rsidiff::worker {
namespace {

constexpr absl::string_view kBlocks = "blip.visual_encoder.blocks.";
// Places of the head's linear layers in the original torch.nn.Sequential; the others are dropout.
constexpr int kHeadPlaces[] = {0, 2, 4, 6, 7};

/// The image tower's blocks under the names that ClipEncoder reads; other tensors stay as they are.
absl::StatusOr<NamedTensors> MapTensor(const std::string& name, const at::Tensor& tensor) {
  if (!absl::StartsWith(name, kBlocks)) return NamedTensors{{name, tensor}};
  const std::string layer = absl::StrReplaceAll(name, {{".blocks.", ".encoder.layers."},
                                                       {".norm1.", ".layer_norm1."},
                                                       {".norm2.", ".layer_norm2."},
                                                       {".attn.", ".self_attn."},
                                                       {".attn.proj.", ".self_attn.out_proj."}});
  for (absl::string_view leaf : {"weight", "bias"}) {
    const std::string fused = absl::StrCat(".qkv.", leaf);
    if (!absl::EndsWith(layer, fused)) continue;
    return SplitFusedProjection(name, tensor, absl::StripSuffix(layer, fused), leaf);
  }
  return NamedTensors{{layer, tensor}};
}

}  // namespace

BlipVisionTransformer::BlipVisionTransformer(const ClipVisionConfig& config, const ParameterScope& scope)
    : class_token_(scope.Take("cls_token", {1, 1, config.encoder.hidden_size})),
      patch_embedding_(scope.Sub("patch_embed.proj"),
                       {config.encoder.hidden_size, config.image_size, config.patch_size}, Bias::kYes),
      position_embedding_(
          scope.Take("pos_embed", {1, patch_embedding_.count() + 1, config.encoder.hidden_size})),
      encoder_(config.encoder, scope.Sub("encoder")),
      layer_norm_(scope.Sub("norm"), config.encoder.hidden_size, config.encoder.layer_norm_eps) {}

at::Tensor BlipVisionTransformer::Forward(const at::Tensor& pixels) const {
  const at::Tensor class_tokens = class_token_.expand({pixels.size(0), -1, -1});
  const at::Tensor embedded = at::cat({class_tokens, patch_embedding_(pixels)}, 1) + position_embedding_;
  return layer_norm_(encoder_.Forward(embedded, AttentionMask::kNone).last);
}

BlipRewardModel::BlipRewardModel(const BlipRewardConfig& config, const ComputeOptions& options,
                                 const ParameterScope& root)
    : config_(config),
      options_(options),
      vision_(config.vision, root.Sub("blip.visual_encoder")),
      text_(config.text, config.vision.encoder.hidden_size, root.Sub("blip.text_encoder")) {
  int64_t inputs = config.text.encoder.hidden_size;
  for (size_t i = 0; i < config.head_sizes.size(); ++i) {
    head_.emplace_back(root.Sub("mlp.layers", kHeadPlaces[i]), inputs, config.head_sizes[i], Bias::kYes);
    inputs = config.head_sizes[i];
  }
}

absl::StatusOr<std::unique_ptr<BlipRewardModel>> BlipRewardModel::Load(const std::filesystem::path& folder,
                                                                       const ComputeOptions& options) {
  RSIDIFF_ASSIGN_OR_RETURN(const BlipRewardConfig config, LoadBlipRewardConfig(folder));
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<ParameterLoader> loader, ParameterLoader::Open(folder, options));
  RSIDIFF_RETURN_IF_ERROR(
      loader->Map("blocks.N is called encoder.layers.N here, attn.qkv its thirds", MapTensor));
  auto model = std::unique_ptr<BlipRewardModel>(new BlipRewardModel(config, options, loader->root()));
  RSIDIFF_ASSIGN_OR_RETURN(model->parameters_, loader->Finish({"embeddings.position_ids"}));
  return model;
}

at::Tensor BlipRewardModel::Rewards(const Input& input) const {
  const at::Tensor picture = vision_.Forward(input.pixels.to(options_.device, options_.dtype));
  at::Tensor x = text_.FirstToken(input.ids.to(options_.device), input.mask.to(options_.device), picture);
  for (const Linear& layer : head_) x = layer(x);
  return (x.select(1, 0).to(at::kCPU, at::kDouble) - config_.reward_mean) / config_.reward_std;
}

}  // namespace rsidiff::worker
