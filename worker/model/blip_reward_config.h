#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/clip_config.h"

namespace rsidiff::worker {

/// BERT with cross-attention, as BLIP has it (BLIP's "multimodal" mode).
struct BlipTextConfig {
  ClipEncoderConfig encoder;
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;
};

/// Sizes and constants of ImageReward's model.
struct BlipRewardConfig {
  ClipVisionConfig vision;
  BlipTextConfig text;
  /// Outputs of the head's linear layers, the last 1.
  std::vector<int64_t> head_sizes;
  /// Tokens of a prompt, [CLS] and [SEP] included; longer ones are cut.
  int64_t max_text_length = 0;
  /// reward = (head's output - mean) / standard deviation.
  double reward_mean = 0;
  double reward_std = 0;
  /// Which scorer's weights these are ("_scorer"); may be empty.
  std::string scorer;
};

/// The configuration of THUDM/ImageReward: what absent keys stand for.
BlipRewardConfig ImageRewardConfig();

/// Reads config.json of `folder` (docs/formats.md). Absent keys take ImageReward's values; a key that is not
/// known, or a value without sense, is refused by name.
absl::StatusOr<BlipRewardConfig> LoadBlipRewardConfig(const std::filesystem::path& folder);

}  // namespace rsidiff::worker
