#include "coordinator/schedule/weights.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace rsidiff::coordinator {
namespace {

std::vector<double> DividedByMean(std::vector<double> values) {
  double sum = 0;
  for (double value : values) sum += value;
  if (sum <= 0) return std::vector<double>(values.size(), 1);
  double mean = sum / static_cast<double>(values.size());
  for (double& value : values) value /= mean;
  return values;
}

std::vector<double> Flattened(const std::vector<double>& weights, double alpha) {
  std::vector<double> result(weights.size());
  for (size_t i = 0; i < weights.size(); ++i) result[i] = std::pow(weights[i], alpha);
  return DividedByMean(std::move(result));
}

std::vector<double> PreferenceTerms(double temperature, const std::vector<WeightInput>& samples) {
  struct Prompt {
    double best = -std::numeric_limits<double>::infinity();
    double sum = 0;
    double count = 0;
  };
  std::map<uint32_t, Prompt> prompts;
  for (const WeightInput& sample : samples) {
    Prompt& prompt = prompts[sample.prompt_id];
    prompt.best = std::max(prompt.best, sample.reward);
    prompt.count += 1;
  }
  std::vector<double> terms(samples.size());
  for (size_t i = 0; i < samples.size(); ++i) {
    Prompt& prompt = prompts[samples[i].prompt_id];
    terms[i] = std::exp((samples[i].reward - prompt.best) / temperature);
    prompt.sum += terms[i];
  }
  for (size_t i = 0; i < samples.size(); ++i) {
    const Prompt& prompt = prompts[samples[i].prompt_id];
    terms[i] *= prompt.count / prompt.sum;
  }
  return terms;
}

std::vector<double> RaisedToFloor(std::vector<double> weights, double floor) {
  double wanted = std::min(floor, 1.0) * static_cast<double>(weights.size());
  if (EffectiveSampleSize(weights) >= wanted) return weights;
  // The effective size falls as alpha grows, so the largest alpha that reaches the floor is bracketed.
  double reaches = 0;
  double misses = 1;
  for (int i = 0; i < 60; ++i) {
    double alpha = (reaches + misses) / 2;
    (EffectiveSampleSize(Flattened(weights, alpha)) >= wanted ? reaches : misses) = alpha;
  }
  return Flattened(weights, reaches);
}

}  // namespace

double EffectiveSampleSize(const std::vector<double>& weights) {
  double sum = 0;
  double squares = 0;
  for (double weight : weights) {
    sum += weight;
    squares += weight * weight;
  }
  return squares > 0 ? sum * sum / squares : 0;
}

SampleWeights ComputeWeights(const v1::WeightSpec& spec, const std::vector<WeightInput>& samples) {
  SampleWeights result;
  result.weights.assign(samples.size(), 1);
  if (samples.empty()) return result;
  if (spec.method() == v1::WEIGHT_METHOD_UNIFORM) {
    result.effective_sample_size = EffectiveSampleSize(result.weights);
    return result;
  }
  result.weights = PreferenceTerms(spec.has_temperature() ? spec.temperature() : 1, samples);
  bool distances = spec.method() != v1::WEIGHT_METHOD_PREFERENCE;
  double low = spec.has_min() ? spec.min() : 0.1;
  double high = spec.has_max() ? spec.max() : 5;
  size_t clipped = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    double& weight = result.weights[i];
    if (distances) {
      double penalty = spec.has_penalty() ? spec.penalty() : 1;
      double margin = spec.has_margin() ? spec.margin() : 1;
      weight *= std::exp(-penalty * std::max(0.0, samples[i].distance - margin));
    }
    if (weight <= low || weight >= high) ++clipped;
    weight = std::min(std::max(weight, low), high);
  }
  result.clipped_share = static_cast<double>(clipped) / static_cast<double>(samples.size());
  result.weights =
      RaisedToFloor(DividedByMean(std::move(result.weights)), spec.has_ess_floor() ? spec.ess_floor() : 0.3);
  result.effective_sample_size = EffectiveSampleSize(result.weights);
  return result;
}

}  // namespace rsidiff::coordinator
