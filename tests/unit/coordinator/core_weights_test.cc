// The weights that the core gives, computed again from the stored samples by the formulas of docs/method.md.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "tests/unit/coordinator/core_harness.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

constexpr double kTemperature = 0.5;
constexpr double kPenalty = 1.5;
constexpr double kMargin = 0.5;
constexpr double kMin = 0.2;
constexpr double kMax = 1.5;

v1::SubmitRunRequest TwoKept(double ess_floor) {
  v1::SubmitRunRequest request = SmallRun("submit", 2);
  v1::RunSpec& spec = *request.mutable_spec();
  spec.mutable_prompts()->set_per_round(4);
  spec.mutable_sampling()->set_samples_per_prompt(5);
  spec.mutable_selection()->set_keep(2);
  v1::WeightSpec& weights = *spec.mutable_weights();
  weights.set_method(v1::WEIGHT_METHOD_GAUSSIAN);
  weights.set_temperature(kTemperature);
  weights.set_penalty(kPenalty);
  weights.set_margin(kMargin);
  weights.set_min(kMin);
  weights.set_max(kMax);
  weights.set_ess_floor(ess_floor);
  return request;
}

std::vector<v1::SampleRecord> Selected(const CoreHarness& harness, uint32_t round) {
  std::vector<v1::SampleRecord> samples;
  for (v1::SampleRecord& sample : harness.Samples(1, round)) {
    EXPECT_EQ(sample.has_distance(), sample.selected()) << "a dropped sample's distance is not measured";
    if (sample.selected()) samples.push_back(std::move(sample));
  }
  return samples;
}

double EffectiveSize(const std::vector<double>& weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  return sum * sum / std::inner_product(weights.begin(), weights.end(), weights.begin(), 0.0);
}

std::vector<double> Powers(std::vector<double> weights, double exponent) {
  double sum = 0;
  for (double& weight : weights) sum += weight = std::pow(weight, exponent);
  for (double& weight : weights) weight *= static_cast<double>(weights.size()) / sum;
  return weights;
}

struct Expected {
  std::vector<double> weights;
  double clipped_share = 0;
  double distance_mean = 0;
};

Expected Recompute(const std::vector<v1::SampleRecord>& samples, double ess_floor) {
  std::map<uint32_t, double> exponentials;
  std::map<uint32_t, double> kept;
  for (const v1::SampleRecord& sample : samples) {
    exponentials[sample.prompt_id()] += std::exp(sample.reward() / kTemperature);
    kept[sample.prompt_id()] += 1;
  }
  const double n = static_cast<double>(samples.size());
  Expected expected;
  for (const v1::SampleRecord& sample : samples) {
    const double preference = kept[sample.prompt_id()] * std::exp(sample.reward() / kTemperature) /
                              exponentials[sample.prompt_id()];
    const double weight = preference * std::exp(-kPenalty * std::max(0.0, sample.distance() - kMargin));
    expected.weights.push_back(std::min(std::max(weight, kMin), kMax));
    expected.clipped_share += expected.weights.back() != weight ? 1 / n : 0;
    expected.distance_mean += sample.distance() / n;
  }
  double flattest = 0;
  double steepest = 1;
  for (int i = 0; i < 100 && EffectiveSize(Powers(expected.weights, 1)) < ess_floor * n; ++i) {
    const double middle = (flattest + steepest) / 2;
    (EffectiveSize(Powers(expected.weights, middle)) >= ess_floor * n ? flattest : steepest) = middle;
  }
  expected.weights = Powers(expected.weights, flattest == 0 ? 1 : flattest);
  return expected;
}

std::vector<nlohmann::json> Manifest(const CoreHarness& harness, const v1::RoundRecord& round) {
  std::vector<nlohmann::json> lines;
  for (const std::string& part : round.manifest_parts()) {
    for (const auto line : absl::StrSplit(harness.artifacts().at(part), '\n', absl::SkipEmpty())) {
      lines.push_back(nlohmann::json::parse(line));
    }
  }
  return lines;
}

void ExpectLine(const nlohmann::json& line, const v1::SampleRecord& sample, bool replay) {
  EXPECT_EQ(line["image"], sample.image());
  EXPECT_EQ(line["latents"], sample.latents());
  EXPECT_EQ(line["row"], sample.row());
  EXPECT_EQ(line["weight"], sample.weight());
  EXPECT_EQ(line["replay"], replay);
}

void ExpectWeights(double ess_floor, bool flattened) {
  CoreHarness harness;
  const uint64_t incarnation = harness.Register("w");
  harness.Ok<v1::SubmitRunResponse>(TwoKept(ess_floor));
  harness.Work("w", incarnation);
  const v1::RunStatus run = harness.GetRun(1);
  std::vector<v1::SampleRecord> trained;  // the manifest of the round: its own samples, then those before
  for (int number : {1, 2}) {
    const v1::RoundRecord& round = run.rounds(number);
    const std::vector<v1::SampleRecord> samples = Selected(harness, round.round());
    ASSERT_EQ(samples.size(), 8u);
    const Expected expected = Recompute(samples, ess_floor);
    for (size_t i = 0; i < samples.size(); ++i) {
      EXPECT_NEAR(samples[i].weight(), expected.weights[i], 1e-9) << "round " << number << " sample " << i;
    }
    EXPECT_NEAR(round.selection().effective_sample_size(), EffectiveSize(expected.weights), 1e-8);
    EXPECT_EQ(round.selection().effective_sample_size() < ess_floor * 8 + 1e-6, flattened);
    EXPECT_NEAR(round.selection().clipped_share(), expected.clipped_share, 1e-12);
    EXPECT_GT(expected.clipped_share, 0) << "bounds are not tested";
    EXPECT_NEAR(round.selection().distance_mean(), expected.distance_mean, 1e-12);
    trained.insert(trained.begin(), samples.begin(), samples.end());
    const std::vector<nlohmann::json> manifest = Manifest(harness, round);
    ASSERT_EQ(manifest.size(), trained.size());
    for (size_t i = 0; i < trained.size(); ++i) ExpectLine(manifest[i], trained[i], i >= samples.size());
  }
}

TEST(CoreWeightsTest, WeightsOfTwoKeptSamplesAreThoseOfTheFormulas) {
  ExpectWeights(0.1, /*flattened=*/false);
}

TEST(CoreWeightsTest, WeightsAreFlattenedToTheFloor) {
  ExpectWeights(0.95, /*flattened=*/true);
}

}  // namespace
}  // namespace rsidiff::coordinator
