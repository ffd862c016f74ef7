#include "worker/model/unet_2d_condition_model.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/silu.h>

#include "common/base/status_macros.h"
#include "worker/model/feature_map.h"
#include "worker/model/layers.h"
#include "worker/model/unet_2d_blocks.h"
#include "worker/tensor/json_config.h"

namespace rsidiff::worker {

struct UNet2DConditionModel::Modules {
  Conv2d conv_in;
  TimestepEmbedding time_embedding;
  std::vector<DownBlock2D> down_blocks;
  std::optional<MidBlock2D> mid_block;
  std::vector<UpBlock2D> up_blocks;
  GroupNorm conv_norm_out;
  Conv2d conv_out;

  template <typename Visitor>
  void VisitLinears(Visitor&& visit) {
    visit(time_embedding.linear_1);
    visit(time_embedding.linear_2);
    auto visit_block = [&](auto& block) {
      for (ResnetBlock2D& resnet : block.resnets) resnet.VisitLinears(visit);
      for (Transformer2DModel& attention : block.attentions) attention.VisitLinears(visit);
    };
    for (DownBlock2D& block : down_blocks) visit_block(block);
    if (mid_block.has_value()) visit_block(*mid_block);
    for (UpBlock2D& block : up_blocks) visit_block(block);
  }
};

namespace {

// Shape of the blocks at place `i`, counted from the highest resolution.
UNetBlockShape BlockShape(const UNet2DConfig& config, size_t i) {
  int64_t channels = config.block_out_channels[i], heads = config.num_attention_heads[i];
  UNetBlockShape shape;
  shape.layers = config.layers_per_block[i];
  shape.in = channels;
  shape.time_embedding = config.time_embedding_dim;
  shape.norm_eps = config.norm_eps;
  shape.cross_attention = false;
  shape.attention = {channels,
                     heads,
                     channels / heads,
                     config.transformer_layers_per_block[i],
                     config.cross_attention_dim[i],
                     config.norm_num_groups,
                     config.use_linear_projection ? Transformer2DModel::Projection::kLinear
                                                  : Transformer2DModel::Projection::kConvolution,
                     config.only_cross_attention[i] ? FirstAttention::kCross : FirstAttention::kSelf};
  return shape;
}

// Width of each skip connection, in the order the down path makes them.
std::vector<int64_t> SkipChannels(const UNet2DConfig& config) {
  std::vector<int64_t> channels = {config.block_out_channels[0]};
  for (size_t i = 0; i < config.block_out_channels.size(); ++i) {
    bool downsamples = i + 1 < config.block_out_channels.size();
    channels.insert(channels.end(), config.layers_per_block[i] + (downsamples ? 1 : 0),
                    config.block_out_channels[i]);
  }
  return channels;
}

}  // namespace

UNet2DConditionModel::UNet2DConditionModel(UNet2DConfig config, const ComputeOptions& options)
    : config_(std::move(config)), options_(options), modules_(std::make_unique<Modules>()) {}

UNet2DConditionModel::~UNet2DConditionModel() = default;

absl::StatusOr<std::unique_ptr<UNet2DConditionModel>> UNet2DConditionModel::Load(
    const std::filesystem::path& folder, const ComputeOptions& options) {
  RSIDIFF_ASSIGN_OR_RETURN(JsonConfig json, JsonConfig::Load(folder / "config.json"));
  RSIDIFF_ASSIGN_OR_RETURN(UNet2DConfig config, ParseUNet2DConfig(std::move(json)));
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<ParameterLoader> loader, ParameterLoader::Open(folder, options));
  std::unique_ptr<UNet2DConditionModel> model(new UNet2DConditionModel(std::move(config), options));
  RSIDIFF_RETURN_IF_ERROR(model->Build(*loader));
  return model;
}

absl::StatusOr<std::unique_ptr<UNet2DConditionModel>> UNet2DConditionModel::Create(
    const UNet2DConfig& config, NamedTensors weights, std::string name, const ComputeOptions& options) {
  std::unique_ptr<ParameterLoader> loader =
      ParameterLoader::FromTensors(std::move(weights), std::move(name), options);
  std::unique_ptr<UNet2DConditionModel> model(new UNet2DConditionModel(config, options));
  RSIDIFF_RETURN_IF_ERROR(model->Build(*loader));
  return model;
}

absl::Status UNet2DConditionModel::Build(ParameterLoader& loader) {
  const std::vector<int64_t>& channels = config_.block_out_channels;
  size_t blocks = channels.size();
  ParameterScope root = loader.root();
  Modules& modules = *modules_;
  modules.conv_in = Conv2d(root.Sub("conv_in"), {config_.in_channels, channels[0], config_.conv_in_kernel, 1,
                                                 (config_.conv_in_kernel - 1) / 2});
  modules.time_embedding =
      TimestepEmbedding(root.Sub("time_embedding"), channels[0], config_.time_embedding_dim);
  for (size_t i = 0; i < blocks; ++i) {
    UNetBlockShape shape = BlockShape(config_, i);
    shape.in = channels[i == 0 ? 0 : i - 1];
    shape.cross_attention = config_.down_blocks[i] == UNet2DConfig::Block::kCrossAttention;
    std::optional<int64_t> padding;
    if (i + 1 < blocks) padding = config_.downsample_padding;
    modules.down_blocks.emplace_back(root.Sub("down_blocks", i), shape, padding);
  }
  if (config_.mid_block != UNet2DConfig::MidBlock::kNone) {
    UNetBlockShape shape = BlockShape(config_, blocks - 1);
    shape.cross_attention = config_.mid_block == UNet2DConfig::MidBlock::kCrossAttention;
    shape.attention.first = FirstAttention::kSelf;  // diffusers does not hand only_cross_attention to it.
    modules.mid_block.emplace(root.Sub("mid_block"), shape, config_.mid_block_scale_factor);
  }
  std::vector<int64_t> skips = SkipChannels(config_);
  int64_t width = channels.back();
  for (size_t i = 0; i < blocks; ++i) {
    size_t place = blocks - 1 - i;
    UNetBlockShape shape = BlockShape(config_, place);
    shape.layers += 1;
    shape.in = width;
    shape.cross_attention = config_.up_blocks[i] == UNet2DConfig::Block::kCrossAttention;
    std::vector<int64_t> taken(skips.rbegin(), skips.rbegin() + shape.layers);
    skips.resize(skips.size() - taken.size());
    modules.up_blocks.emplace_back(root.Sub("up_blocks", i), shape, taken,
                                   place > 0 ? Upsample::kYes : Upsample::kNo);
    width = channels[place];
  }
  modules.conv_norm_out =
      GroupNorm(root.Sub("conv_norm_out"), channels[0], config_.norm_num_groups, config_.norm_eps);
  modules.conv_out = Conv2d(root.Sub("conv_out"), {channels[0], config_.out_channels, config_.conv_out_kernel,
                                                   1, (config_.conv_out_kernel - 1) / 2});
  RSIDIFF_ASSIGN_OR_RETURN(parameters_, loader.Finish({}));
  return absl::OkStatus();
}

at::Tensor UNet2DConditionModel::Forward(const at::Tensor& sample, const at::Tensor& timesteps,
                                         const at::Tensor& encoder_hidden_states) {
  return Run(sample, timesteps, encoder_hidden_states, nullptr);
}

at::Tensor UNet2DConditionModel::Forward(const at::Tensor& sample, const at::Tensor& timesteps,
                                         const at::Tensor& encoder_hidden_states,
                                         CrossAttentionCache& cache) {
  cache.Prepare(encoder_hidden_states);
  return Run(sample, timesteps, encoder_hidden_states, &cache);
}

at::Tensor UNet2DConditionModel::Run(const at::Tensor& sample, const at::Tensor& timesteps,
                                     const at::Tensor& encoder_hidden_states, CrossAttentionCache* cache) {
  const Modules& modules = *modules_;
  at::Tensor x = sample.to(options_.device, options_.dtype);
  if (config_.center_input_sample) x = 2 * x - 1;
  TimestepSinusoids sinusoids{config_.block_out_channels[0], config_.flip_sin_to_cos, config_.freq_shift};
  // One timestep for all samples stays one row, which the resnet blocks broadcast.
  at::Tensor time = sinusoids(timesteps.to(options_.device)).to(options_.dtype);
  UNetConditioning conditioning{SiluConsuming(modules.time_embedding(time)),
                                {encoder_hidden_states.to(options_.device, options_.dtype), cache}};
  x = modules.conv_in(InInferenceLayout(x));
  std::vector<at::Tensor> skips = {x};
  for (const DownBlock2D& block : modules.down_blocks) {
    std::vector<at::Tensor> states = block(skips.back(), conditioning);
    skips.insert(skips.end(), states.begin(), states.end());
  }
  x = skips.back();
  if (modules.mid_block.has_value()) x = (*modules.mid_block)(x, conditioning);
  for (const UpBlock2D& block : modules.up_blocks) {
    // Enlarged to the very size of the next skip connection, which an odd size below has lost.
    std::vector<int64_t> size;
    if (block.upsampler.has_value()) {
      size = skips[skips.size() - block.resnets.size() - 1].sizes().slice(2).vec();
    }
    x = block(std::move(x), skips, conditioning, size);
  }
  return modules.conv_out(SiluConsuming(modules.conv_norm_out(x))).contiguous();
}

std::map<std::string, Linear*> UNet2DConditionModel::linears() {
  std::map<std::string, Linear*> linears;
  modules_->VisitLinears([&](Linear& linear) { linears.emplace(linear.path, &linear); });
  return linears;
}

}  // namespace rsidiff::worker
