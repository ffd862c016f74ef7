#include "worker/model/unet_2d_config.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace rsidiff::worker {
namespace {

// Above these a config is a mistake or hostile; they keep every product of sizes far from overflow.
constexpr int64_t kMaxChannels = 1 << 16;
constexpr int64_t kMaxLayers = 64;
constexpr size_t kMaxBlocks = 16;

std::vector<UNet2DConfig::Block> ReadBlocks(JsonConfig& json, const std::string& key, absl::string_view plain,
                                            absl::string_view cross, std::vector<std::string> fallback) {
  std::vector<UNet2DConfig::Block> blocks;
  for (const std::string& type : json.Strings(key, std::move(fallback))) {
    if (type != plain && type != cross) {
      json.AddProblem(absl::StrCat("unsupported value in ", key, ": \"", type, "\" (supported: ", plain, ", ",
                                   cross, ")"));
    }
    blocks.push_back(type == cross ? UNet2DConfig::Block::kCrossAttention : UNet2DConfig::Block::kPlain);
  }
  return blocks;
}

UNet2DConfig::MidBlock ReadMidBlock(JsonConfig& json) {
  json.RequireValue("mid_block_type", {"\"UNetMidBlock2DCrossAttn\"", "\"UNetMidBlock2D\"", "null"});
  // An absent key means the default; a null that is there means no block.
  if (!json.Contains("mid_block_type")) return UNet2DConfig::MidBlock::kCrossAttention;
  if (!json.Has("mid_block_type")) return UNet2DConfig::MidBlock::kNone;
  return json.String("mid_block_type", "") == "UNetMidBlock2D" ? UNet2DConfig::MidBlock::kPlain
                                                               : UNet2DConfig::MidBlock::kCrossAttention;
}

// Options that other models of the family use and this engine does not compute.
void RefuseOtherModels(JsonConfig& json) {
  json.RequireValue("_class_name", {"\"UNet2DConditionModel\""});
  json.RequireValue("act_fn", {"\"silu\"", "\"swish\""});
  json.RequireValue("dropout", {"0"});
  json.RequireValue("dual_cross_attention", {"false"});
  json.RequireValue("class_embed_type", {"null"});
  json.RequireValue("num_class_embeds", {"null"});
  json.RequireValue("projection_class_embeddings_input_dim", {"null"});
  json.RequireValue("class_embeddings_concat", {"false"});
  json.RequireValue("addition_embed_type", {"null"});
  json.RequireValue("addition_time_embed_dim", {"null"});
  json.RequireValue("encoder_hid_dim", {"null"});
  json.RequireValue("encoder_hid_dim_type", {"null"});
  json.RequireValue("resnet_time_scale_shift", {"\"default\""});
  json.RequireValue("resnet_skip_time_act", {"false"});
  json.RequireValue("resnet_out_scale_factor", {"1"});
  json.RequireValue("time_embedding_type", {"\"positional\""});
  json.RequireValue("time_embedding_act_fn", {"null"});
  json.RequireValue("timestep_post_act", {"null"});
  json.RequireValue("time_cond_proj_dim", {"null"});
  json.RequireValue("attention_type", {"\"default\""});
  json.RequireValue("cross_attention_norm", {"null"});
  json.RequireValue("reverse_transformer_layers_per_block", {"null"});
  // Only read for an addition_embed_type, and for mid blocks refused above.
  json.Ignore({"addition_embed_type_num_heads", "mid_block_only_cross_attention"});
}

void CheckRange(JsonConfig& json, const std::string& key, const std::vector<int64_t>& values, int64_t most) {
  for (int64_t value : values) {
    if (value < 1 || value > most) json.AddProblem(absl::StrCat(key, " out of range: ", value));
  }
}

void CheckSizes(JsonConfig& json, const UNet2DConfig& config) {
  CheckRange(json, "in_channels", {config.in_channels}, kMaxChannels);
  CheckRange(json, "out_channels", {config.out_channels}, kMaxChannels);
  CheckRange(json, "block_out_channels", config.block_out_channels, kMaxChannels);
  CheckRange(json, "cross_attention_dim", config.cross_attention_dim, kMaxChannels);
  CheckRange(json, "layers_per_block", config.layers_per_block, kMaxLayers);
  CheckRange(json, "transformer_layers_per_block", config.transformer_layers_per_block, kMaxLayers);
  CheckRange(json, "norm_num_groups", {config.norm_num_groups}, kMaxChannels);
  CheckRange(json, "conv_in_kernel", {config.conv_in_kernel}, kMaxLayers);
  CheckRange(json, "conv_out_kernel", {config.conv_out_kernel}, kMaxLayers);
  CheckRange(json, "time_embedding_dim", {config.time_embedding_dim}, 16 * kMaxChannels);
  if (config.downsample_padding < 0 || config.downsample_padding > 1) {
    json.AddProblem(absl::StrCat("downsample_padding out of range: ", config.downsample_padding));
  }
  for (size_t i = 0; i < config.block_out_channels.size(); ++i) {
    int64_t channels = config.block_out_channels[i], heads = config.num_attention_heads[i];
    if (config.norm_num_groups > 0 && channels % config.norm_num_groups != 0) {
      json.AddProblem(absl::StrCat("block_out_channels is not a multiple of norm_num_groups: ", channels,
                                   ", ", config.norm_num_groups));
    }
    if (heads < 1 || heads > channels) {
      json.AddProblem(
          absl::StrCat("attention_head_dim (heads a block) does not fit ", channels, " channels: ", heads));
    }
  }
}

}  // namespace

absl::StatusOr<UNet2DConfig> ParseUNet2DConfig(JsonConfig json) {
  UNet2DConfig config;
  RefuseOtherModels(json);
  for (const char* key : {"block_out_channels", "cross_attention_dim", "down_block_types", "layers_per_block",
                          "norm_num_groups", "up_block_types"}) {
    // Elsewhere null means the default; here it would ask diffusers for another model, or for none.
    if (json.Contains(key) && !json.Has(key)) json.AddProblem(absl::StrCat(key, " must not be null"));
  }
  config.in_channels = json.Int("in_channels", 4);
  config.out_channels = json.Int("out_channels", 4);
  config.sample_size = json.SquareSize("sample_size");
  config.center_input_sample = json.Bool("center_input_sample", false);
  config.flip_sin_to_cos = json.Bool("flip_sin_to_cos", true);
  config.freq_shift = json.Number("freq_shift", 0);
  config.down_blocks =
      ReadBlocks(json, "down_block_types", "DownBlock2D", "CrossAttnDownBlock2D",
                 {"CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"});
  config.mid_block = ReadMidBlock(json);
  config.up_blocks =
      ReadBlocks(json, "up_block_types", "UpBlock2D", "CrossAttnUpBlock2D",
                 {"UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"});
  config.block_out_channels = json.Ints("block_out_channels", {320, 640, 1280, 1280});
  size_t blocks = config.down_blocks.size();
  if (blocks == 0 || blocks > kMaxBlocks || config.up_blocks.size() != blocks ||
      config.block_out_channels.size() != blocks) {
    json.AddProblem("down_block_types, up_block_types and block_out_channels differ in length");
    return json.CheckAllRead();
  }
  config.only_cross_attention = json.BoolOrBools("only_cross_attention", blocks, false);
  config.layers_per_block = json.IntOrInts("layers_per_block", blocks, 2);
  config.transformer_layers_per_block = json.IntOrInts("transformer_layers_per_block", blocks, 1);
  config.cross_attention_dim = json.IntOrInts("cross_attention_dim", blocks, 1280);
  config.num_attention_heads = json.IntOrInts("attention_head_dim", blocks, 8);
  if (json.Has("num_attention_heads")) {
    config.num_attention_heads = json.IntOrInts("num_attention_heads", blocks, 8);
  }
  config.downsample_padding = json.Int("downsample_padding", 1);
  config.mid_block_scale_factor = json.Number("mid_block_scale_factor", 1);
  config.norm_num_groups = json.Int("norm_num_groups", 32);
  config.norm_eps = json.Number("norm_eps", 1e-5);
  config.use_linear_projection = json.Bool("use_linear_projection", false);
  config.upcast_attention = json.Bool("upcast_attention", false);
  config.time_embedding_dim = json.Int("time_embedding_dim", 4 * config.block_out_channels[0]);
  config.conv_in_kernel = json.Int("conv_in_kernel", 3);
  config.conv_out_kernel = json.Int("conv_out_kernel", 3);
  CheckSizes(json, config);
  RSIDIFF_RETURN_IF_ERROR(json.CheckAllRead());
  return config;
}

}  // namespace rsidiff::worker
