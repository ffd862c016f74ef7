#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/status/statusor.h"
#include "worker/model/clip_activation.h"

namespace rsidiff::worker {

/// Sizes of one CLIP transformer stack.
struct ClipEncoderConfig {
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  double layer_norm_eps = 1e-5;
  ClipActivation hidden_act = ClipActivation::kQuickGelu;
};

struct ClipTextConfig {
  ClipEncoderConfig encoder;
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;
  /// 2 is the value that old configurations carry by mistake: then the token with the highest id ends the
  /// text.
  int64_t eos_token_id = 0;
};

struct ClipVisionConfig {
  ClipEncoderConfig encoder;
  int64_t image_size = 0;
  int64_t patch_size = 0;
};

struct ClipConfig {
  ClipTextConfig text;
  ClipVisionConfig vision;
  int64_t projection_dim = 0;
  /// Which scorer's weights these are, as deploy/convert/convert_scorer.py writes it ("_scorer"); else empty.
  std::string scorer;
};

class JsonConfig;

/// Reads the sizes of a stack; problems stay with `json`. Absent keys take `defaults`.
ClipEncoderConfig ReadClipEncoderConfig(JsonConfig& json, const ClipEncoderConfig& defaults);

/// Reads config.json of a CLIPTextModel folder. Absent keys take transformers' defaults; a key or value that
/// would change the computation and is not supported is refused by name.
absl::StatusOr<ClipTextConfig> LoadClipTextConfig(const std::filesystem::path& folder);

/// Reads config.json of a CLIPModel folder. `text_config_dict` and `vision_config_dict`, where present,
/// replace `text_config` and `vision_config`, as in transformers.
absl::StatusOr<ClipConfig> LoadClipConfig(const std::filesystem::path& folder);

}  // namespace rsidiff::worker
