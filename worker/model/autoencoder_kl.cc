#include "worker/model/autoencoder_kl.h"

#include <utility>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/exp.h>

#include "common/base/status_macros.h"
#include "worker/model/attention.h"
#include "worker/model/feature_map.h"
#include "worker/model/layers.h"
#include "worker/model/resnet.h"

namespace rsidiff::worker {
namespace {

constexpr double kNormEps = 1e-6;

ResnetBlock2D MakeResnet(const ParameterScope& scope, const AutoencoderKLConfig& config, int64_t in,
                         int64_t out) {
  return ResnetBlock2D(scope, {in, out, /*time_embedding=*/0, config.norm_num_groups, kNormEps});
}

// Single-head attention over the pixels. Weights of before 2023 carry other names.
struct PixelAttention {
  PixelAttention(const ParameterScope& scope, int64_t channels, int64_t groups)
      : group_norm(scope.Sub("group_norm"), channels, groups, kNormEps) {
    attention.heads = 1;
    attention.to_q = TakeLinear(scope, "to_q", "query", channels);
    attention.to_k = TakeLinear(scope, "to_k", "key", channels);
    attention.to_v = TakeLinear(scope, "to_v", "value", channels);
    attention.to_out = TakeLinear(scope, "to_out.0", "proj_attn", channels);
  }

  static Linear TakeLinear(const ParameterScope& scope, const std::string& name, const std::string& old_name,
                           int64_t channels) {
    Linear linear;
    linear.path = scope.Sub(name).path();
    linear.weight = scope.Take(name + ".weight", {channels, channels}, old_name + ".weight");
    linear.bias = scope.Take(name + ".bias", {channels}, old_name + ".bias");
    return linear;
  }

  at::Tensor operator()(const at::Tensor& x) const {
    return ToFeatureMap(attention.Self(ToTokens(group_norm(x))), x) + x;
  }

  GroupNorm group_norm;
  Attention attention;
};

struct MidBlock {
  MidBlock(const ParameterScope& scope, const AutoencoderKLConfig& config)
      : resnet_0(MakeResnet(scope.Sub("resnets", 0), config, width(config), width(config))),
        resnet_1(MakeResnet(scope.Sub("resnets", 1), config, width(config), width(config))) {
    if (config.mid_block_add_attention) {
      attention.emplace(scope.Sub("attentions", 0), width(config), config.norm_num_groups);
    }
  }
  static int64_t width(const AutoencoderKLConfig& config) { return config.block_out_channels.back(); }

  at::Tensor operator()(const at::Tensor& x) const {
    at::Tensor hidden = resnet_0(x, {});
    if (attention.has_value()) hidden = (*attention)(hidden);
    return resnet_1(hidden, {});
  }

  ResnetBlock2D resnet_0;
  std::optional<PixelAttention> attention;
  ResnetBlock2D resnet_1;
};

struct Encoder {
  Encoder(const ParameterScope& scope, const AutoencoderKLConfig& config)
      : conv_in(scope.Sub("conv_in"), {config.in_channels, config.block_out_channels[0], 3, 1, 1}),
        mid_block(scope.Sub("mid_block"), config),
        conv_norm_out(scope.Sub("conv_norm_out"), config.block_out_channels.back(), config.norm_num_groups,
                      kNormEps),
        conv_out(scope.Sub("conv_out"),
                 {config.block_out_channels.back(), 2 * config.latent_channels, 3, 1, 1}) {
    int64_t in = config.block_out_channels[0];
    for (size_t i = 0; i < config.block_out_channels.size(); ++i) {
      int64_t out = config.block_out_channels[i];
      ParameterScope block = scope.Sub("down_blocks", i);
      Level& level = levels.emplace_back();
      for (int64_t layer = 0; layer < config.layers_per_block; ++layer) {
        level.resnets.push_back(MakeResnet(block.Sub("resnets", layer), config, layer == 0 ? in : out, out));
      }
      if (i + 1 < config.block_out_channels.size()) {
        level.downsampler.emplace(block.Sub("downsamplers", 0), out, /*padding=*/0);
      }
      in = out;
    }
  }

  at::Tensor operator()(const at::Tensor& images) const {
    at::Tensor x = conv_in(images);
    for (const Level& level : levels) {
      for (const ResnetBlock2D& resnet : level.resnets) x = resnet(x, {});
      if (level.downsampler.has_value()) x = (*level.downsampler)(x);
    }
    return conv_out(SiluConsuming(conv_norm_out(mid_block(x))));
  }

  struct Level {
    std::vector<ResnetBlock2D> resnets;
    std::optional<Downsample2D> downsampler;
  };
  Conv2d conv_in;
  std::vector<Level> levels;
  MidBlock mid_block;
  GroupNorm conv_norm_out;
  Conv2d conv_out;
};

struct Decoder {
  Decoder(const ParameterScope& scope, const AutoencoderKLConfig& config)
      : conv_in(scope.Sub("conv_in"), {config.latent_channels, config.block_out_channels.back(), 3, 1, 1}),
        mid_block(scope.Sub("mid_block"), config),
        conv_norm_out(scope.Sub("conv_norm_out"), config.block_out_channels[0], config.norm_num_groups,
                      kNormEps),
        conv_out(scope.Sub("conv_out"), {config.block_out_channels[0], config.out_channels, 3, 1, 1}) {
    int64_t in = config.block_out_channels.back();
    for (size_t i = 0; i < config.block_out_channels.size(); ++i) {
      int64_t out = config.block_out_channels[config.block_out_channels.size() - 1 - i];
      ParameterScope block = scope.Sub("up_blocks", i);
      Level& level = levels.emplace_back();
      for (int64_t layer = 0; layer < config.layers_per_block + 1; ++layer) {
        level.resnets.push_back(MakeResnet(block.Sub("resnets", layer), config, layer == 0 ? in : out, out));
      }
      if (i + 1 < config.block_out_channels.size()) level.upsampler.emplace(block.Sub("upsamplers", 0), out);
      in = out;
    }
  }

  at::Tensor operator()(const at::Tensor& latents) const {
    at::Tensor x = mid_block(conv_in(latents));
    for (const Level& level : levels) {
      for (const ResnetBlock2D& resnet : level.resnets) x = resnet(x, {});
      if (level.upsampler.has_value()) x = (*level.upsampler)(x, {});
    }
    return conv_out(SiluConsuming(conv_norm_out(x)));
  }

  struct Level {
    std::vector<ResnetBlock2D> resnets;
    std::optional<Upsample2D> upsampler;
  };
  Conv2d conv_in;
  MidBlock mid_block;
  std::vector<Level> levels;
  GroupNorm conv_norm_out;
  Conv2d conv_out;
};

}  // namespace

struct AutoencoderKL::Modules {
  Modules(const ParameterScope& root, const AutoencoderKLConfig& config)
      : encoder(root.Sub("encoder"), config), decoder(root.Sub("decoder"), config) {
    int64_t latent = config.latent_channels;
    if (config.use_quant_conv)
      quant_conv.emplace(root.Sub("quant_conv"), Conv2d::Shape{2 * latent, 2 * latent, 1});
    if (config.use_post_quant_conv) {
      post_quant_conv.emplace(root.Sub("post_quant_conv"), Conv2d::Shape{latent, latent, 1});
    }
  }

  Encoder encoder;
  Decoder decoder;
  std::optional<Conv2d> quant_conv;
  std::optional<Conv2d> post_quant_conv;
};

AutoencoderKL::AutoencoderKL(AutoencoderKLConfig config, const ComputeOptions& options)
    : config_(std::move(config)), options_(options) {}

AutoencoderKL::~AutoencoderKL() = default;

absl::StatusOr<std::unique_ptr<AutoencoderKL>> AutoencoderKL::Load(const std::filesystem::path& folder,
                                                                   const ComputeOptions& options) {
  RSIDIFF_ASSIGN_OR_RETURN(JsonConfig json, JsonConfig::Load(folder / "config.json"));
  RSIDIFF_ASSIGN_OR_RETURN(AutoencoderKLConfig config, ParseAutoencoderKLConfig(std::move(json)));
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<ParameterLoader> loader, ParameterLoader::Open(folder, options));
  std::unique_ptr<AutoencoderKL> model(new AutoencoderKL(std::move(config), options));
  RSIDIFF_RETURN_IF_ERROR(model->Build(*loader));
  return model;
}

absl::Status AutoencoderKL::Build(ParameterLoader& loader) {
  modules_ = std::make_unique<Modules>(loader.root(), config_);
  RSIDIFF_ASSIGN_OR_RETURN(parameters_, loader.Finish({}));
  return absl::OkStatus();
}

at::Tensor AutoencoderKL::Posterior::Sample(const at::Tensor& noise) const {
  return mean + at::exp(0.5 * logvar) * noise.to(mean.device(), mean.scalar_type());
}

AutoencoderKL::Posterior AutoencoderKL::Encode(const at::Tensor& images) {
  at::Tensor moments = modules_->encoder(InInferenceLayout(images.to(options_.device, options_.dtype)));
  if (modules_->quant_conv.has_value()) moments = (*modules_->quant_conv)(moments);
  std::vector<at::Tensor> halves = moments.contiguous().chunk(2, 1);
  return {halves[0], halves[1].clamp(-30.0, 20.0)};
}

at::Tensor AutoencoderKL::Decode(const at::Tensor& latents) {
  at::Tensor z = InInferenceLayout(latents.to(options_.device, options_.dtype));
  if (modules_->post_quant_conv.has_value()) z = (*modules_->post_quant_conv)(z);
  return modules_->decoder(z).contiguous();
}

at::Tensor AutoencoderKL::Scale(const at::Tensor& latents) const {
  return (latents - config_.shift_factor.value_or(0)) * config_.scaling_factor;
}

at::Tensor AutoencoderKL::Unscale(const at::Tensor& latents) const {
  return latents / config_.scaling_factor + config_.shift_factor.value_or(0);
}

}  // namespace rsidiff::worker
