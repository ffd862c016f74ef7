#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/blip_reward_config.h"
#include "worker/model/blip_text_encoder.h"
#include "worker/model/clip_encoder.h"
#include "worker/model/parameters.h"
#include "worker/model/patch_embedding.h"
#include "worker/tensor/device.h"

namespace rsidiff::worker {

/// BLIP's image tower, a ViT (Dosovitskiy et al., arXiv 2010.11929): patches with bias, class token, position
/// embedding, pre-norm transformer, layer norm.
class BlipVisionTransformer {
 public:
  BlipVisionTransformer(const ClipVisionConfig& config, const ParameterScope& scope);

  /// [N, 3, image_size, image_size], normalised, to all tokens [N, 1 + patches, hidden]. Throws c10::Error
  /// for another shape.
  at::Tensor Forward(const at::Tensor& pixels) const;

 private:
  at::Tensor class_token_;
  PatchEmbedding patch_embedding_;
  at::Tensor position_embedding_;
  ClipEncoder encoder_;
  LayerNorm layer_norm_;
};

/// ImageReward's network (Xu et al., arXiv 2304.05977): a text encoder that looks at the picture, and linear
/// layers without activations over its first token. Its methods may run on several threads at once.
class BlipRewardModel {
 public:
  /// Loads config.json and the weights of `folder`, which have the names of the original checkpoint
  /// ("blip.visual_encoder.blocks.0.attn.qkv.weight", ...). Errors name the config key, or the tensor and its
  /// file.
  static absl::StatusOr<std::unique_ptr<BlipRewardModel>> Load(const std::filesystem::path& folder,
                                                               const ComputeOptions& options);

  struct Input {
    at::Tensor pixels;  // [N, 3, image_size, image_size], normalised
    at::Tensor ids;     // [N, S] int64
    at::Tensor mask;    // [N, S] boolean, false for padding
  };
  /// fp64 [N] on the CPU: (head - reward_mean) / reward_std. The input may be on any device.
  at::Tensor Rewards(const Input& input) const;

  const BlipRewardConfig& config() const { return config_; }

 private:
  BlipRewardModel(const BlipRewardConfig& config, const ComputeOptions& options, const ParameterScope& root);

  BlipRewardConfig config_;
  ComputeOptions options_;
  BlipVisionTransformer vision_;
  BlipTextEncoder text_;
  std::vector<Linear> head_;
  Parameters parameters_;
};

}  // namespace rsidiff::worker
