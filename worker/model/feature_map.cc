#include "worker/model/feature_map.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>

namespace rsidiff::worker {
namespace {

// Pixels that one thread takes at a time. Fixed, so that sums do not depend on the number of threads.
constexpr int64_t kStripPixels = 256;

struct MapShape {
  int64_t samples;
  int64_t pixels;
  int64_t channels;
  int64_t groups;

  int64_t strips() const { return (pixels + kStripPixels - 1) / kStripPixels; }
  int64_t group_channels() const { return channels / groups; }
};

// Calls work(sample, strip, first pixel's offset in the map, number of pixels) for all strips of all samples.
template <typename Work>
void ForEachStrip(const MapShape& shape, Work&& work) {
  at::parallel_for(0, shape.samples * shape.strips(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t sample = i / shape.strips(), strip = i % shape.strips();
      const int64_t pixel = strip * kStripPixels;
      work(sample, strip, (sample * shape.pixels + pixel) * shape.channels,
           std::min(kStripPixels, shape.pixels - pixel));
    }
  });
}

// Mean over each sample's groups [samples, groups] of sums [samples, strips, channels].
std::vector<float> GroupMeans(const std::vector<float>& sums, const MapShape& shape) {
  std::vector<float> means(shape.samples * shape.groups);
  for (int64_t sample = 0; sample < shape.samples; ++sample) {
    for (int64_t group = 0; group < shape.groups; ++group) {
      double total = 0;
      for (int64_t strip = 0; strip < shape.strips(); ++strip) {
        const float* first =
            sums.data() + (sample * shape.strips() + strip) * shape.channels + group * shape.group_channels();
        for (int64_t channel = 0; channel < shape.group_channels(); ++channel) total += first[channel];
      }
      means[sample * shape.groups + group] =
          static_cast<float>(total / (shape.pixels * shape.group_channels()));
    }
  }
  return means;
}

// Each group's value for each of its channels: [samples, groups] to [samples, channels].
std::vector<float> Spread(const std::vector<float>& of_groups, const MapShape& shape) {
  std::vector<float> of_channels;
  of_channels.reserve(shape.samples * shape.channels);
  for (float value : of_groups) of_channels.insert(of_channels.end(), shape.group_channels(), value);
  return of_channels;
}

std::vector<float> ChannelMeans(const float* x, const MapShape& shape) {
  std::vector<float> sums(shape.samples * shape.strips() * shape.channels, 0.0F);
  ForEachStrip(shape, [&](int64_t sample, int64_t strip, int64_t offset, int64_t pixels) {
    float* sum = sums.data() + (sample * shape.strips() + strip) * shape.channels;
    for (const float* pixel = x + offset; pixels > 0; --pixels, pixel += shape.channels) {
      for (int64_t channel = 0; channel < shape.channels; ++channel) sum[channel] += pixel[channel];
    }
  });
  return Spread(GroupMeans(sums, shape), shape);
}

// In a second pass over x: the difference of two large sums would lose what is small beside the mean.
std::vector<float> ChannelVariances(const float* x, const std::vector<float>& means, const MapShape& shape) {
  std::vector<float> sums(shape.samples * shape.strips() * shape.channels, 0.0F);
  ForEachStrip(shape, [&](int64_t sample, int64_t strip, int64_t offset, int64_t pixels) {
    float* sum = sums.data() + (sample * shape.strips() + strip) * shape.channels;
    const float* mean = means.data() + sample * shape.channels;
    for (const float* pixel = x + offset; pixels > 0; --pixels, pixel += shape.channels) {
      for (int64_t channel = 0; channel < shape.channels; ++channel) {
        const float distance = pixel[channel] - mean[channel];
        sum[channel] += distance * distance;
      }
    }
  });
  return Spread(GroupMeans(sums, shape), shape);
}

}  // namespace

bool IsInInferenceLayout(const at::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == at::kFloat && !at::GradMode::is_enabled() && !x.is_contiguous() &&
         x.is_contiguous(at::MemoryFormat::ChannelsLast);
}

at::Tensor InInferenceLayout(const at::Tensor& x) {
  if (!x.is_cpu() || x.scalar_type() != at::kFloat || at::GradMode::is_enabled()) return x;
  return x.contiguous(at::MemoryFormat::ChannelsLast);
}

at::Tensor GroupNormOfChannelsLast(const at::Tensor& x, int64_t groups, const at::Tensor& weight,
                                   const at::Tensor& bias, double eps) {
  const MapShape shape{x.size(0), x.size(2) * x.size(3), x.size(1), groups};
  at::Tensor result = at::empty_like(x);
  const float* in = x.const_data_ptr<float>();
  const std::vector<float> means = ChannelMeans(in, shape);
  std::vector<float> factors = ChannelVariances(in, means, shape);
  std::vector<float> shifts(factors.size());
  const at::Tensor scale = weight.contiguous(), offset = bias.contiguous();
  for (size_t i = 0; i < factors.size(); ++i) {
    const int64_t channel = static_cast<int64_t>(i) % shape.channels;
    factors[i] = static_cast<float>(scale.const_data_ptr<float>()[channel] / std::sqrt(factors[i] + eps));
    shifts[i] = offset.const_data_ptr<float>()[channel] - means[i] * factors[i];
  }
  float* out = result.data_ptr<float>();
  ForEachStrip(shape, [&](int64_t sample, int64_t, int64_t first, int64_t pixels) {
    const float* factor = factors.data() + sample * shape.channels;
    const float* shift = shifts.data() + sample * shape.channels;
    for (int64_t pixel = 0; pixel < pixels; ++pixel) {
      const float* from = in + first + pixel * shape.channels;
      float* to = out + first + pixel * shape.channels;
      for (int64_t channel = 0; channel < shape.channels; ++channel) {
        to[channel] = from[channel] * factor[channel] + shift[channel];
      }
    }
  });
  return result;
}

at::Tensor ToTokens(const at::Tensor& x) {
  return x.permute({0, 2, 3, 1}).flatten(1, 2).contiguous();
}

at::Tensor ToFeatureMap(const at::Tensor& tokens, const at::Tensor& like) {
  return tokens.view({tokens.size(0), like.size(2), like.size(3), tokens.size(2)})
      .permute({0, 3, 1, 2})
      .contiguous(like.suggest_memory_format());
}

}  // namespace rsidiff::worker
