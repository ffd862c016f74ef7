#include "common/image/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace rsidiff {
namespace {

// Pillow's arithmetic (src/libImaging/Resample.c): weights are integers with this many fractional bits.
constexpr int kPrecisionBits = 32 - 8 - 2;
constexpr double kCubicSupport = 2.0;

double Cubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

// For each output position: where its input pixels begin, how many they are, and their weights.
struct Weights {
  int taps = 0;  // weights held for each position
  std::vector<int> begin, count;
  std::vector<int32_t> value;  // taps a position, those past count are 0
};

Weights CubicWeights(int from, int to) {
  const double scale = static_cast<double>(from) / to;
  const double filter_scale = std::max(scale, 1.0);  // shrinking averages over more pixels
  const double support = kCubicSupport * filter_scale;
  Weights weights;
  weights.taps = static_cast<int>(std::ceil(support)) * 2 + 1;
  weights.begin.resize(to);
  weights.count.resize(to);
  weights.value.assign(static_cast<size_t>(weights.taps) * to, 0);
  std::vector<double> taps(weights.taps);
  for (int position = 0; position < to; ++position) {
    const double center = (position + 0.5) * scale;
    const int begin = std::max(static_cast<int>(center - support + 0.5), 0);
    const int count = std::min(static_cast<int>(center + support + 0.5), from) - begin;
    double sum = 0;
    for (int i = 0; i < count; ++i) {
      taps[i] = Cubic((i + begin - center + 0.5) * (1.0 / filter_scale));
      sum += taps[i];
    }
    for (int i = 0; i < count; ++i) {
      const double weight = (sum != 0 ? taps[i] / sum : taps[i]) * (1 << kPrecisionBits);
      weights.value[static_cast<size_t>(position) * weights.taps + i] =
          static_cast<int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    weights.begin[position] = begin;
    weights.count[position] = count;
  }
  return weights;
}

uint8_t RoundToByte(int32_t fixed) {
  return static_cast<uint8_t>(std::clamp(fixed >> kPrecisionBits, 0, 255));
}

Image ResizeHorizontally(const Image& image, int width) {
  const Weights weights = CubicWeights(image.width, width);
  Image result = MakeImage(width, image.height);
  for (int y = 0; y < image.height; ++y) {
    const uint8_t* in = image.row(y);
    uint8_t* out = result.row(y);
    for (int x = 0; x < width; ++x, out += 3) {
      const int32_t* weight = &weights.value[static_cast<size_t>(x) * weights.taps];
      const uint8_t* pixel = in + 3 * weights.begin[x];
      int32_t red = 1 << (kPrecisionBits - 1), green = red, blue = red;
      for (int i = 0; i < weights.count[x]; ++i, pixel += 3) {
        red += pixel[0] * weight[i];
        green += pixel[1] * weight[i];
        blue += pixel[2] * weight[i];
      }
      out[0] = RoundToByte(red);
      out[1] = RoundToByte(green);
      out[2] = RoundToByte(blue);
    }
  }
  return result;
}

Image ResizeVertically(const Image& image, int height) {
  const Weights weights = CubicWeights(image.height, height);
  Image result = MakeImage(image.width, height);
  const int row_bytes = 3 * image.width;
  std::vector<int32_t> sums(row_bytes);
  for (int y = 0; y < height; ++y) {
    std::fill(sums.begin(), sums.end(), 1 << (kPrecisionBits - 1));
    for (int i = 0; i < weights.count[y]; ++i) {
      const int32_t weight = weights.value[static_cast<size_t>(y) * weights.taps + i];
      const uint8_t* in = image.row(weights.begin[y] + i);
      for (int k = 0; k < row_bytes; ++k) sums[k] += in[k] * weight;
    }
    uint8_t* out = result.row(y);
    for (int k = 0; k < row_bytes; ++k) out[k] = RoundToByte(sums[k]);
  }
  return result;
}

}  // namespace

Image ResizeBicubic(const Image& image, int width, int height) {
  // Pillow leaves a pass out that would change nothing. Each pass rounds, so their order shows: since version
  // 13 (its pull request 9549) the vertical pass comes first where the height shrinks by many more pixels
  // than the width does; before, and otherwise, the horizontal one.
  if (width == image.width) return height == image.height ? image : ResizeVertically(image, height);
  if (height == image.height) return ResizeHorizontally(image, width);
  const int64_t removed_rows = int64_t{image.height} - height;
  const int64_t removed_columns = int64_t{image.width} - width;
  if (removed_rows > 0 && removed_rows > 2 * removed_columns) {
    return ResizeHorizontally(ResizeVertically(image, height), width);
  }
  return ResizeVertically(ResizeHorizontally(image, width), height);
}

}  // namespace rsidiff
