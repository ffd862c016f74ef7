#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/model/autoencoder_kl.h"

namespace rsidiff::worker {
namespace {

constexpr int64_t kMaxChannels = 1 << 16;
constexpr int64_t kMaxLayers = 64;
constexpr size_t kMaxBlocks = 16;

void CheckBlockTypes(JsonConfig& json, const std::string& key, const std::string& supported, size_t blocks) {
  std::vector<std::string> types = json.Strings(key, {supported});
  for (const std::string& type : types) {
    if (type != supported) {
      json.AddProblem(
          absl::StrCat("unsupported value in ", key, ": \"", type, "\" (supported: ", supported, ")"));
    }
  }
  if (types.size() != blocks) json.AddProblem(absl::StrCat(key, " and block_out_channels differ in length"));
}

void CheckSizes(JsonConfig& json, const AutoencoderKLConfig& config) {
  if (config.block_out_channels.empty() || config.block_out_channels.size() > kMaxBlocks) {
    json.AddProblem("block_out_channels has no entry or too many");
  }
  auto check = [&json](absl::string_view key, int64_t value, int64_t most) {
    if (value < 1 || value > most) json.AddProblem(absl::StrCat(key, " out of range: ", value));
  };
  check("in_channels", config.in_channels, kMaxChannels);
  check("out_channels", config.out_channels, kMaxChannels);
  check("latent_channels", config.latent_channels, kMaxChannels);
  check("layers_per_block", config.layers_per_block, kMaxLayers);
  check("norm_num_groups", config.norm_num_groups, kMaxChannels);
  for (int64_t channels : config.block_out_channels) {
    check("block_out_channels", channels, kMaxChannels);
    if (config.norm_num_groups > 0 && channels % config.norm_num_groups != 0) {
      json.AddProblem(absl::StrCat("block_out_channels is not a multiple of norm_num_groups: ", channels,
                                   ", ", config.norm_num_groups));
    }
  }
  if (!(config.scaling_factor > 0)) json.AddProblem("scaling_factor is not positive");
  for (const auto* values : {&config.latents_mean, &config.latents_std}) {
    if (!values->empty() && values->size() != static_cast<size_t>(config.latent_channels)) {
      json.AddProblem("latents_mean or latents_std does not have one number a latent channel");
    }
  }
}

}  // namespace

absl::StatusOr<AutoencoderKLConfig> ParseAutoencoderKLConfig(JsonConfig json) {
  AutoencoderKLConfig config;
  json.RequireValue("_class_name", {"\"AutoencoderKL\""});
  json.RequireValue("act_fn", {"\"silu\"", "\"swish\""});
  config.in_channels = json.Int("in_channels", 3);
  config.out_channels = json.Int("out_channels", 3);
  config.block_out_channels = json.Ints("block_out_channels", {64});
  config.layers_per_block = json.Int("layers_per_block", 1);
  config.latent_channels = json.Int("latent_channels", 4);
  config.norm_num_groups = json.Int("norm_num_groups", 32);
  config.sample_size = json.SquareSize("sample_size");
  config.scaling_factor = json.Number("scaling_factor", 0.18215);
  config.shift_factor = json.OptionalNumber("shift_factor");
  config.latents_mean = json.Numbers("latents_mean", {});
  config.latents_std = json.Numbers("latents_std", {});
  config.force_upcast = json.Bool("force_upcast", true);
  config.use_quant_conv = json.Bool("use_quant_conv", true);
  config.use_post_quant_conv = json.Bool("use_post_quant_conv", true);
  config.mid_block_add_attention = json.Bool("mid_block_add_attention", true);
  CheckBlockTypes(json, "down_block_types", "DownEncoderBlock2D", config.block_out_channels.size());
  CheckBlockTypes(json, "up_block_types", "UpDecoderBlock2D", config.block_out_channels.size());
  CheckSizes(json, config);
  RSIDIFF_RETURN_IF_ERROR(json.CheckAllRead());
  return config;
}

}  // namespace rsidiff::worker
