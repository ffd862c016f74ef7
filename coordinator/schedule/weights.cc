#include "coordinator/schedule/weights.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace rsidiff::coordinator {
namespace {

constexpr int kAlphaTries = 60;

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

SampleWeights ComputeWeights(const v1::WeightSpec& spec, std::vector<WeightInput> samples) {
  const size_t count = std::max<size_t>(samples.size(), 1);
  WeightComputation computation(spec, std::move(samples));
  while (!computation.done()) computation.Advance(count);
  return computation.Take();
}

WeightComputation::WeightComputation(const v1::WeightSpec& spec, std::vector<WeightInput> samples)
    : spec_(spec), samples_(std::move(samples)) {
  const size_t count = samples_.size();
  result_.weights.assign(count, 1);
  wanted_ = std::min(spec_.has_ess_floor() ? spec_.ess_floor() : 0.3, 1.0) * static_cast<double>(count);
  if (count > 0 && spec_.method() != v1::WEIGHT_METHOD_UNIFORM) return;
  result_.effective_sample_size = static_cast<double>(count);
  pass_ = Pass::kDone;
}

void WeightComputation::Advance(size_t count) {
  if (done()) return;
  size_t end = samples_.size() - next_ > count ? next_ + count : samples_.size();
  switch (pass_) {
    case Pass::kPreference:
      end = Preference(end);
      break;
    case Pass::kClip:
      Clip(end);
      break;
    case Pass::kNormalize:
      Normalize(result_.weights, end);
      break;
    case Pass::kFlatten:
      Flatten(end);
      break;
    case Pass::kMeasure:
      Normalize(flattened_, end);
      break;
    case Pass::kDone:
      return;
  }
  next_ = end;
  if (next_ == samples_.size()) EndPass();
}

size_t WeightComputation::Preference(size_t end) {
  const double temperature = spec_.has_temperature() ? spec_.temperature() : 1;
  size_t begin = next_;
  while (begin < end) {
    size_t stop = begin;
    double best = -std::numeric_limits<double>::infinity();
    for (; stop < samples_.size() && samples_[stop].prompt_id == samples_[begin].prompt_id; ++stop) {
      best = std::max(best, samples_[stop].reward);
    }
    double sum = 0;
    for (size_t i = begin; i < stop; ++i) {
      result_.weights[i] = std::exp((samples_[i].reward - best) / temperature);
      sum += result_.weights[i];
    }
    for (size_t i = begin; i < stop; ++i) result_.weights[i] *= static_cast<double>(stop - begin) / sum;
    begin = stop;
  }
  return begin;
}

void WeightComputation::Clip(size_t end) {
  const bool distances = spec_.method() != v1::WEIGHT_METHOD_PREFERENCE;
  const double penalty = spec_.has_penalty() ? spec_.penalty() : 1;
  const double margin = spec_.has_margin() ? spec_.margin() : 1;
  const double low = spec_.has_min() ? spec_.min() : 0.1;
  const double high = spec_.has_max() ? spec_.max() : 5;
  for (size_t i = next_; i < end; ++i) {
    double& weight = result_.weights[i];
    if (distances) weight *= std::exp(-penalty * std::max(0.0, samples_[i].distance - margin));
    if (weight <= low || weight >= high) ++clipped_;
    weight = std::min(std::max(weight, low), high);
    sum_ += weight;
  }
}

void WeightComputation::Flatten(size_t end) {
  for (size_t i = next_; i < end; ++i) {
    flattened_[i] = std::pow(result_.weights[i], alpha_);
    sum_ += flattened_[i];
  }
}

void WeightComputation::Normalize(std::vector<double>& values, size_t end) {
  const double mean = sum_ / static_cast<double>(values.size());
  for (size_t i = next_; i < end; ++i) {
    values[i] = sum_ <= 0 ? 1 : values[i] / mean;
    total_ += values[i];
    squares_ += values[i] * values[i];
  }
}

void WeightComputation::Start(Pass pass) {
  pass_ = pass;
  next_ = 0;
  if (pass == Pass::kClip || pass == Pass::kFlatten) sum_ = 0;
  if (pass == Pass::kNormalize || pass == Pass::kMeasure) total_ = squares_ = 0;
}

void WeightComputation::EndPass() {
  switch (pass_) {
    case Pass::kPreference:
      return Start(Pass::kClip);
    case Pass::kClip:
      result_.clipped_share = static_cast<double>(clipped_) / static_cast<double>(samples_.size());
      return Start(Pass::kNormalize);
    case Pass::kNormalize:
      result_.effective_sample_size = MeasuredSize();
      if (result_.effective_sample_size >= wanted_) return Start(Pass::kDone);
      flattened_.resize(samples_.size());
      return NextAlpha();
    case Pass::kFlatten:
      return Start(Pass::kMeasure);
    case Pass::kMeasure:
      if (alpha_ == reaches_) {
        result_.weights = std::move(flattened_);
        result_.effective_sample_size = MeasuredSize();
        return Start(Pass::kDone);
      }
      (MeasuredSize() >= wanted_ ? reaches_ : misses_) = alpha_;
      return NextAlpha();
    case Pass::kDone:
      return;
  }
}

void WeightComputation::NextAlpha() {
  const double middle = (reaches_ + misses_) / 2;
  // Between neighbours there is nothing left to find.
  const bool more = tries_++ < kAlphaTries && middle != reaches_ && middle != misses_;
  alpha_ = more ? middle : reaches_;
  Start(Pass::kFlatten);
}

}  // namespace rsidiff::coordinator
