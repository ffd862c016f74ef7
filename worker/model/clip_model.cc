#include "worker/model/clip_model.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <utility>

#include "common/base/status_macros.h"
#include "worker/model/open_clip_names.h"

namespace rsidiff::worker {
namespace {

/// The folder's tensors under transformers' names or open_clip's. Wrappers such as imscore's, which hold the
/// model as a member, publish them behind a prefix.
absl::StatusOr<std::unique_ptr<ParameterLoader>> OpenWeights(const std::filesystem::path& folder,
                                                             const ComputeOptions& options) {
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<ParameterLoader> loader, ParameterLoader::Open(folder, options));
  loader->StripCommonPrefix("model.");
  return loader;
}

/// logit_scale in fp32: rounded to bf16, exp of it would be off by up to 1 %.
absl::StatusOr<double> ReadLogitScale(const std::filesystem::path& folder) {
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<ParameterLoader> loader, OpenWeights(folder, ComputeOptions{}));
  return loader->root().Take("logit_scale", {}).item<double>();
}

}  // namespace

ClipVisionTransformer::ClipVisionTransformer(const ClipVisionConfig& config, const ParameterScope& scope)
    : class_embedding_(scope.Take("embeddings.class_embedding", {config.encoder.hidden_size})),
      patch_embedding_(scope.Sub("embeddings.patch_embedding"),
                       {config.encoder.hidden_size, config.image_size, config.patch_size}, Bias::kNo),
      position_embedding_(scope.Take("embeddings.position_embedding.weight",
                                     {patch_embedding_.count() + 1, config.encoder.hidden_size})),
      pre_layer_norm_(scope.Sub("pre_layrnorm"), config.encoder.hidden_size, config.encoder.layer_norm_eps),
      encoder_(config.encoder, scope.Sub("encoder")),
      post_layer_norm_(scope.Sub("post_layernorm"), config.encoder.hidden_size,
                       config.encoder.layer_norm_eps) {}

at::Tensor ClipVisionTransformer::Pooled(const at::Tensor& pixels) const {
  const at::Tensor class_tokens = class_embedding_.expand({pixels.size(0), 1, -1});
  const at::Tensor embedded = at::cat({class_tokens, patch_embedding_(pixels)}, 1) + position_embedding_;
  // Only the class token, row 0, leaves the tower.
  return post_layer_norm_(encoder_.ForwardRow(pre_layer_norm_(embedded), 0));
}

ClipModel::ClipModel(const ClipConfig& config, const ComputeOptions& options, const ParameterScope& root)
    : config_(config),
      options_(options),
      text_(config.text, root.Sub("text_model")),
      vision_(config.vision, root.Sub("vision_model")),
      text_projection_(root.Sub("text_projection"), config.text.encoder.hidden_size, config.projection_dim,
                       Bias::kNo),
      visual_projection_(root.Sub("visual_projection"), config.vision.encoder.hidden_size,
                         config.projection_dim, Bias::kNo) {
  root.Take("logit_scale", {});
}

absl::StatusOr<std::unique_ptr<ClipModel>> ClipModel::Load(const std::filesystem::path& folder,
                                                           const ComputeOptions& options) {
  RSIDIFF_ASSIGN_OR_RETURN(const ClipConfig config, LoadClipConfig(folder));
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<ParameterLoader> loader, OpenWeights(folder, options));
  if (loader->Has(kOpenClipMarker)) {
    RSIDIFF_RETURN_IF_ERROR(loader->Map("open_clip's tensors under transformers' names", MapOpenClipTensor));
  }
  auto model = std::unique_ptr<ClipModel>(new ClipModel(config, options, loader->root()));
  RSIDIFF_ASSIGN_OR_RETURN(model->parameters_, loader->Finish({"embeddings.position_ids"}));
  RSIDIFF_ASSIGN_OR_RETURN(model->logit_scale_, ReadLogitScale(folder));
  return model;
}

at::Tensor ClipModel::ImageFeatures(const at::Tensor& pixels) const {
  return visual_projection_(vision_.Pooled(pixels.to(options_.device, options_.dtype)));
}

at::Tensor ClipModel::TextFeatures(const at::Tensor& ids) const {
  TORCH_CHECK(ids.dim() == 2 && ids.numel() > 0, "token ids should be [N, S], not ", ids.sizes());
  const int64_t needed = text_.EndOfTextPositions(ids).max().item<int64_t>() + 1;
  return text_projection_(text_.Forward(ids.narrow(1, 0, needed).to(options_.device)).pooled);
}

}  // namespace rsidiff::worker
