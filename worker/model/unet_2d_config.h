#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/tensor/json_config.h"

namespace rsidiff::worker {

/// Settings of diffusers' UNet2DConditionModel that this engine computes, lists expanded to one entry a
/// block. Names and defaults are diffusers'.
struct UNet2DConfig {
  enum class Block { kPlain, kCrossAttention };
  enum class MidBlock { kNone, kPlain, kCrossAttention };

  int64_t in_channels = 4;
  int64_t out_channels = 4;
  /// Latent height and width that the model was made for; 0 when the file does not say.
  int64_t sample_size = 0;
  bool center_input_sample = false;
  bool flip_sin_to_cos = true;
  double freq_shift = 0;
  std::vector<Block> down_blocks;
  MidBlock mid_block = MidBlock::kCrossAttention;
  std::vector<Block> up_blocks;
  std::vector<bool> only_cross_attention;
  std::vector<int64_t> block_out_channels;
  std::vector<int64_t> layers_per_block;
  std::vector<int64_t> transformer_layers_per_block;
  std::vector<int64_t> cross_attention_dim;
  /// Heads a block: num_attention_heads, or attention_head_dim under its historical meaning (diffusers#2011).
  std::vector<int64_t> num_attention_heads;
  int64_t downsample_padding = 1;
  double mid_block_scale_factor = 1;
  int64_t norm_num_groups = 32;
  double norm_eps = 1e-5;
  bool use_linear_projection = false;
  bool upcast_attention = false;
  int64_t time_embedding_dim = 0;
  int64_t conv_in_kernel = 3;
  int64_t conv_out_kernel = 3;
};

/// Reads and checks a UNet's config.json. INVALID_ARGUMENT names each key that is malformed or that asks for
/// something this engine does not compute.
absl::StatusOr<UNet2DConfig> ParseUNet2DConfig(JsonConfig json);

}  // namespace rsidiff::worker
