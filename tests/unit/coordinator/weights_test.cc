#include "coordinator/schedule/weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace rsidiff::coordinator {
namespace {

v1::WeightSpec Spec(v1::WeightMethod method) {
  v1::WeightSpec spec;
  spec.set_method(method);
  spec.set_temperature(1);
  spec.set_penalty(1);
  spec.set_margin(1);
  spec.set_min(0.001);
  spec.set_max(1000);
  spec.set_ess_floor(0);
  return spec;
}

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

TEST(EffectiveSampleSizeTest, CountsEqualWeightsFullyAndASingleOneOnce) {
  EXPECT_DOUBLE_EQ(EffectiveSampleSize({2, 2, 2, 2}), 4);
  EXPECT_DOUBLE_EQ(EffectiveSampleSize({1, 0, 0}), 1);
  EXPECT_DOUBLE_EQ(EffectiveSampleSize({1, 2, 3}), 36.0 / 14);
  EXPECT_EQ(EffectiveSampleSize({}), 0);
}

TEST(ComputeWeightsTest, UniformIsOne) {
  SampleWeights weights = ComputeWeights(Spec(v1::WEIGHT_METHOD_UNIFORM), {{0, 5, 9}, {1, -3, 0}});
  EXPECT_EQ(weights.weights, (std::vector<double>{1, 1}));
  EXPECT_EQ(weights.effective_sample_size, 2);
}

TEST(ComputeWeightsTest, PreferenceIsASoftmaxOverThePromptsOwnSamples) {
  // Prompt 0: softmax([log 3, 0]) * 2 = [1.5, 0.5]; prompt 1 has one sample: 1. The mean is 1 already.
  SampleWeights weights =
      ComputeWeights(Spec(v1::WEIGHT_METHOD_PREFERENCE), {{0, std::log(3), 9}, {0, 0, 9}, {1, -70, 9}});
  EXPECT_NEAR(weights.weights[0], 1.5, 1e-12);
  EXPECT_NEAR(weights.weights[1], 0.5, 1e-12);
  EXPECT_NEAR(weights.weights[2], 1, 1e-12);
}

TEST(ComputeWeightsTest, GaussianFallsWithTheDistanceBeyondTheMargin) {
  SampleWeights weights =
      ComputeWeights(Spec(v1::WEIGHT_METHOD_GAUSSIAN), {{0, 0, -2}, {1, 0, 1}, {2, 0, 3}});
  EXPECT_NEAR(weights.weights[0], weights.weights[1], 1e-12) << "up to the margin nothing is taken off";
  EXPECT_NEAR(weights.weights[2] / weights.weights[1], std::exp(-2), 1e-12);
  EXPECT_NEAR(Mean(weights.weights), 1, 1e-12);
}

TEST(ComputeWeightsTest, ClipsBeforeTheMeanIsRestoredAndTellsTheShare) {
  v1::WeightSpec spec = Spec(v1::WEIGHT_METHOD_GAUSSIAN);
  spec.set_min(0.5);
  spec.set_max(5);
  SampleWeights weights = ComputeWeights(spec, {{0, 0, 0}, {1, 0, 50}, {2, 0, 60}, {3, 0, 0}});
  EXPECT_NEAR(weights.weights[0] / weights.weights[1], 2, 1e-12);
  EXPECT_NEAR(weights.weights[1], weights.weights[2], 1e-12);
  EXPECT_DOUBLE_EQ(weights.clipped_share, 0.5);
}

TEST(ComputeWeightsTest, FloorFlattensUntilTheEffectiveSizeIsReached) {
  v1::WeightSpec spec = Spec(v1::WEIGHT_METHOD_GAUSSIAN);
  std::vector<WeightInput> samples;
  for (uint32_t i = 0; i < 20; ++i) samples.push_back({i, 0, i == 0 ? 0.0 : 7.0});
  double before = ComputeWeights(spec, samples).effective_sample_size;
  ASSERT_LT(before, 3);
  spec.set_ess_floor(0.6);
  SampleWeights weights = ComputeWeights(spec, samples);
  EXPECT_GE(weights.effective_sample_size, 12);
  EXPECT_NEAR(weights.effective_sample_size, 12, 1e-6) << "no flatter than needed";
  EXPECT_NEAR(Mean(weights.weights), 1, 1e-12);
  EXPECT_GT(weights.weights[0], weights.weights[1]) << "the order stays";
}

TEST(ComputeWeightsTest, FloorOfOneIsUniformAndNothingIsNothing) {
  v1::WeightSpec spec = Spec(v1::WEIGHT_METHOD_PREFERENCE);
  spec.set_ess_floor(1);
  SampleWeights weights = ComputeWeights(spec, {{0, 4, 0}, {0, 0, 0}});
  EXPECT_NEAR(weights.weights[0], 1, 1e-6);
  EXPECT_TRUE(ComputeWeights(spec, {}).weights.empty());
}

TEST(ComputeWeightsTest, HugeRewardsStayFinite) {
  SampleWeights weights = ComputeWeights(Spec(v1::WEIGHT_METHOD_PREFERENCE), {{0, 1e6, 0}, {0, -1e6, 0}});
  for (double weight : weights.weights) EXPECT_TRUE(std::isfinite(weight));
}

/// The weights as docs/method.md writes them, all samples at once.
SampleWeights Plain(const v1::WeightSpec& spec, const std::vector<WeightInput>& samples) {
  auto mean_one = [](std::vector<double> values) {
    double sum = 0;
    for (double value : values) sum += value;
    const double mean = sum / static_cast<double>(values.size());
    for (double& value : values) value /= mean;
    return values;
  };
  std::map<uint32_t, std::vector<size_t>> prompts;
  for (size_t i = 0; i < samples.size(); ++i) prompts[samples[i].prompt_id].push_back(i);
  SampleWeights result;
  result.weights.resize(samples.size());
  for (const auto& [prompt, members] : prompts) {
    double best = samples[members[0]].reward;
    for (size_t i : members) best = std::max(best, samples[i].reward);
    double sum = 0;
    for (size_t i : members) sum += std::exp((samples[i].reward - best) / spec.temperature());
    for (size_t i : members) {
      double& weight = result.weights[i];
      weight = std::exp((samples[i].reward - best) / spec.temperature()) *
               (static_cast<double>(members.size()) / sum);
      weight *= std::exp(-spec.penalty() * std::max(0.0, samples[i].distance - spec.margin()));
      weight = std::min(std::max(weight, spec.min()), spec.max());
    }
  }
  result.weights = mean_one(std::move(result.weights));
  const double wanted = spec.ess_floor() * static_cast<double>(samples.size());
  auto flattened = [&](double alpha) {
    std::vector<double> values;
    for (double weight : result.weights) values.push_back(std::pow(weight, alpha));
    return mean_one(std::move(values));
  };
  if (EffectiveSampleSize(result.weights) < wanted) {
    double reaches = 0;
    double misses = 1;
    for (int i = 0; i < 60; ++i) {
      const double alpha = (reaches + misses) / 2;
      (EffectiveSampleSize(flattened(alpha)) >= wanted ? reaches : misses) = alpha;
    }
    result.weights = flattened(reaches);
  }
  result.effective_sample_size = EffectiveSampleSize(result.weights);
  return result;
}

TEST(WeightComputationTest, SlicesChangeNoBit) {
  std::vector<WeightInput> samples;
  for (uint32_t i = 0; i < 100; ++i) {
    samples.push_back({i / 3, std::sin(i * 1.7) * 3, 2 + 3 * std::cos(i * 0.9)});
  }
  for (const double floor : {0.0, 0.3, 0.9, 1.0}) {
    v1::WeightSpec spec = Spec(v1::WEIGHT_METHOD_GAUSSIAN);
    spec.set_ess_floor(floor);
    const SampleWeights plain = Plain(spec, samples);
    for (const size_t slice : {1, 2, 7, 99, 1000}) {
      WeightComputation computation(spec, samples);
      while (!computation.done()) computation.Advance(slice);
      const SampleWeights weights = computation.Take();
      EXPECT_EQ(weights.weights, plain.weights) << "floor " << floor << ", slices of " << slice;
      EXPECT_EQ(weights.effective_sample_size, plain.effective_sample_size);
    }
  }
}

}  // namespace
}  // namespace rsidiff::coordinator
