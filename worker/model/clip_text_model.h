#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"
#include "worker/model/clip_config.h"
#include "worker/model/clip_encoder.h"
#include "worker/model/parameters.h"
#include "worker/tensor/device.h"

namespace rsidiff::worker {

/// What a CLIP text tower makes of token ids.
struct ClipTextOutput {
  /// [N, S, hidden], after the final layer norm: what Stable Diffusion 1.x conditions on.
  at::Tensor last_hidden_state;
  /// [N, hidden]: the row of `last_hidden_state` at the end-of-text token.
  at::Tensor pooled;
  /// [N, S, hidden]: input of the last encoder layer, without the final layer norm (hidden_states[-2]).
  at::Tensor penultimate;
};

/// The text tower of CLIP: token and position embeddings, causal transformer, final layer norm, pooled at the
/// first end-of-text token. Computes what transformers' CLIPTextModel computes.
class ClipTextTransformer {
 public:
  /// Takes the tower's tensors ("embeddings.token_embedding.weight", ...) out of `scope`.
  ClipTextTransformer(const ClipTextConfig& config, const ParameterScope& scope);

  /// `ids`: [N, S] int64 on the model's device, S at most max_position_embeddings, each below vocab_size.
  /// Throws c10::Error for another shape.
  ClipTextOutput Forward(const at::Tensor& ids) const;

  /// [N] int64: where each row of `ids` is pooled.
  at::Tensor EndOfTextPositions(const at::Tensor& ids) const;

 private:
  ClipTextConfig config_;
  at::Tensor token_embedding_;
  at::Tensor position_embedding_;
  ClipEncoder encoder_;
  LayerNorm final_layer_norm_;
};

/// A CLIPTextModel folder, as `text_encoder/` of a Stable Diffusion pipeline. Forward may run on several
/// threads at once.
class ClipTextModel {
 public:
  using Output = ClipTextOutput;

  /// Loads config.json and the weights of `folder`. Tensor names are accepted with and without the
  /// "text_model." prefix. Errors name the config key, or the tensor and its file.
  static absl::StatusOr<std::unique_ptr<ClipTextModel>> Load(const std::filesystem::path& folder,
                                                             const ComputeOptions& options);

  /// See ClipTextTransformer::Forward; `ids` may be on any device.
  Output Forward(const at::Tensor& ids) const { return transformer_.Forward(ids.to(options_.device)); }

  const ClipTextConfig& config() const { return config_; }
  const ComputeOptions& options() const { return options_; }
  Parameters& parameters() { return parameters_; }

 private:
  ClipTextModel(const ClipTextConfig& config, const ComputeOptions& options, ClipTextTransformer transformer,
                Parameters parameters);

  ClipTextConfig config_;
  ComputeOptions options_;
  ClipTextTransformer transformer_;
  Parameters parameters_;
};

}  // namespace rsidiff::worker
