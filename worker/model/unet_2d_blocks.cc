#include "worker/model/unet_2d_blocks.h"

#include <utility>

#include <ATen/ops/cat.h>

namespace rsidiff::worker {
namespace {

ResnetBlock2D::Shape ResnetShape(const UNetBlockShape& shape, int64_t in) {
  return {in, shape.out(), shape.time_embedding, shape.attention.groups, shape.norm_eps};
}

}  // namespace

DownBlock2D::DownBlock2D(const ParameterScope& scope, const UNetBlockShape& shape,
                         std::optional<int64_t> downsample_padding) {
  for (int64_t i = 0; i < shape.layers; ++i) {
    resnets.emplace_back(scope.Sub("resnets", i), ResnetShape(shape, i == 0 ? shape.in : shape.out()));
    if (shape.cross_attention) attentions.emplace_back(scope.Sub("attentions", i), shape.attention);
  }
  if (downsample_padding.has_value()) {
    downsampler.emplace(scope.Sub("downsamplers", 0), shape.out(), *downsample_padding);
  }
}

std::vector<at::Tensor> DownBlock2D::operator()(at::Tensor x, const UNetConditioning& conditioning) const {
  std::vector<at::Tensor> states;
  for (size_t i = 0; i < resnets.size(); ++i) {
    x = resnets[i](x, conditioning.time);
    if (!attentions.empty()) x = attentions[i](x, conditioning.context);
    states.push_back(x);
  }
  if (downsampler.has_value()) states.push_back((*downsampler)(x));
  return states;
}

MidBlock2D::MidBlock2D(const ParameterScope& scope, const UNetBlockShape& shape, double output_scale_factor) {
  ResnetBlock2D::Shape resnet = ResnetShape(shape, shape.in);
  resnet.output_scale_factor = output_scale_factor;
  resnets.emplace_back(scope.Sub("resnets", 0), resnet);
  if (!shape.cross_attention) return;
  attentions.emplace_back(scope.Sub("attentions", 0), shape.attention);
  resnets.emplace_back(scope.Sub("resnets", 1), resnet);
}

at::Tensor MidBlock2D::operator()(at::Tensor x, const UNetConditioning& conditioning) const {
  x = resnets[0](x, conditioning.time);
  for (size_t i = 0; i < attentions.size(); ++i) {
    x = resnets[i + 1](attentions[i](x, conditioning.context), conditioning.time);
  }
  return x;
}

UpBlock2D::UpBlock2D(const ParameterScope& scope, const UNetBlockShape& shape,
                     const std::vector<int64_t>& skip_channels, Upsample upsample) {
  for (int64_t i = 0; i < shape.layers; ++i) {
    int64_t in = (i == 0 ? shape.in : shape.out()) + skip_channels[i];
    resnets.emplace_back(scope.Sub("resnets", i), ResnetShape(shape, in));
    if (shape.cross_attention) attentions.emplace_back(scope.Sub("attentions", i), shape.attention);
  }
  if (upsample == Upsample::kYes) upsampler.emplace(scope.Sub("upsamplers", 0), shape.out());
}

at::Tensor UpBlock2D::operator()(at::Tensor x, std::vector<at::Tensor>& skips,
                                 const UNetConditioning& conditioning, at::IntArrayRef upsample_size) const {
  for (size_t i = 0; i < resnets.size(); ++i) {
    x = resnets[i](at::cat({x, skips.back()}, 1), conditioning.time);
    skips.pop_back();
    if (!attentions.empty()) x = attentions[i](x, conditioning.context);
  }
  return upsampler.has_value() ? (*upsampler)(x, upsample_size) : x;
}

}  // namespace rsidiff::worker
