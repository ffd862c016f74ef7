#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"
#include "worker/model/clip_config.h"
#include "worker/model/clip_encoder.h"
#include "worker/model/clip_text_model.h"
#include "worker/model/parameters.h"
#include "worker/model/patch_embedding.h"
#include "worker/tensor/device.h"

namespace rsidiff::worker {

/// The vision tower of CLIP (a ViT): patch embedding, class token, position embedding, layer norm,
/// transformer, layer norm of the class token. Computes the pooled output of transformers' CLIPVisionModel.
class ClipVisionTransformer {
 public:
  ClipVisionTransformer(const ClipVisionConfig& config, const ParameterScope& scope);

  /// `pixels`: [N, 3, image_size, image_size], normalised. Gives [N, hidden]. Throws c10::Error for another
  /// shape.
  at::Tensor Pooled(const at::Tensor& pixels) const;

 private:
  at::Tensor class_embedding_;
  PatchEmbedding patch_embedding_;
  at::Tensor position_embedding_;
  LayerNorm pre_layer_norm_;
  ClipEncoder encoder_;
  LayerNorm post_layer_norm_;
};

/// A CLIPModel folder: both towers, their projections and the logit scale. Its methods may run on several
/// threads at once.
class ClipModel {
 public:
  /// Loads config.json and the weights of `folder`, which may have transformers' names or open_clip's: their
  /// own names tell. All may have `model.` before them. Errors name the config key, or the tensor and its
  /// file.
  static absl::StatusOr<std::unique_ptr<ClipModel>> Load(const std::filesystem::path& folder,
                                                         const ComputeOptions& options);

  /// [N, 3, image_size, image_size], converted to the model's device and type, to [N, projection_dim],
  /// projected and not normalised: CLIPModel.get_image_features.
  at::Tensor ImageFeatures(const at::Tensor& pixels) const;

  /// [N, S] int64 token ids on any device to [N, projection_dim], projected and not normalised:
  /// CLIPModel.get_text_features. What follows the last end-of-text token of the batch cannot matter and is
  /// not computed.
  at::Tensor TextFeatures(const at::Tensor& ids) const;

  /// As stored, at full precision: cosines are multiplied by exp of it.
  double logit_scale() const { return logit_scale_; }

  const ClipConfig& config() const { return config_; }
  const ComputeOptions& options() const { return options_; }

 private:
  ClipModel(const ClipConfig& config, const ComputeOptions& options, const ParameterScope& root);

  ClipConfig config_;
  ComputeOptions options_;
  ClipTextTransformer text_;
  ClipVisionTransformer vision_;
  Linear text_projection_;
  Linear visual_projection_;
  Parameters parameters_;
  double logit_scale_ = 0;
};

}  // namespace rsidiff::worker
