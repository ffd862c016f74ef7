#include "worker/sampler/pndm_scheduler.h"

#include <cmath>

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "worker/sampler/timestep_spacing.h"

namespace rsidiff::worker {
namespace {

constexpr int kOrder = 4;
constexpr int kWarmUpCalls = 3 * kOrder;

// A call's model timestep, and the two ends of the move that follows it.
struct Call {
  int timestep, from, to;
};

// `falling`: the spaced timesteps. The second one is evaluated twice: the first move is done again with the
// mean of both answers.
std::vector<Call> PlmsCalls(const std::vector<int>& falling, int stride) {
  std::vector<Call> calls;
  for (int timestep : falling) {
    calls.push_back({timestep, timestep, timestep - stride});
    if (calls.size() == 2) {
      calls.back() = {timestep, timestep + stride, timestep};
      calls.push_back({timestep, timestep, timestep - stride});
    }
  }
  return calls;
}

// Twelve Runge-Kutta calls over the first three moves, in half moves, then the rest.
std::vector<Call> RungeKuttaCalls(const std::vector<int>& falling, int stride) {
  const int half = stride / 2;
  std::vector<int> warm_up;
  for (int move = 0; move < kOrder - 1; ++move) {
    const int start = falling[move], end = falling[move + 1];
    warm_up.insert(warm_up.end(), {start, end + half, end + half, end});
  }
  std::vector<Call> calls;
  for (int i = 0; i < kWarmUpCalls; ++i) {
    calls.push_back({warm_up[i], warm_up[i / 4 * 4], warm_up[i] - (i % 2 == 0 ? half : 0)});
  }
  for (size_t i = kOrder - 1; i < falling.size(); ++i)
    calls.push_back({falling[i], falling[i], falling[i] - stride});
  return calls;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Scheduler>> PndmScheduler::Create(const SchedulerConfig& config,
                                                                 const NoiseSchedule& noise, int steps) {
  if (!config.skip_prk_steps && steps < kOrder) {
    return absl::InvalidArgumentError(absl::StrCat(
        "PNDM with Runge-Kutta steps (skip_prk_steps false) needs at least 4 steps, not ", steps));
  }
  std::vector<int> falling;
  for (double timestep : SpacedTimesteps(config, steps))
    falling.push_back(static_cast<int>(std::nearbyint(timestep)));
  const int stride = noise.num_train_timesteps() / steps;
  auto scheduler = std::make_unique<PndmScheduler>();
  scheduler->warm_up_calls_ = config.skip_prk_steps ? 0 : kWarmUpCalls;
  scheduler->repeats_second_call_ = config.skip_prk_steps;
  const std::vector<float>& alphas = noise.alphas_cumprod();
  const double final_alpha = config.set_alpha_to_one ? 1.0 : alphas[0];
  for (const Call& call :
       config.skip_prk_steps ? PlmsCalls(falling, stride) : RungeKuttaCalls(falling, stride)) {
    if (call.from < 0 || call.from >= noise.num_train_timesteps() || call.to >= noise.num_train_timesteps()) {
      return absl::InvalidArgumentError(absl::StrCat(steps, " steps of PNDM with steps_offset ",
                                                     config.steps_offset, " reach the timestep ", call.from,
                                                     ", outside of the schedule"));
    }
    const double alpha = alphas[call.from], beta = 1 - alpha;
    const double next = call.to >= 0 ? alphas[call.to] : final_alpha;
    const double denominator = alpha * std::sqrt(1 - next) + std::sqrt(alpha * beta * next);
    Transfer transfer{std::sqrt(next / alpha), -(next - alpha) / denominator, 1, 0};
    if (config.prediction_type == PredictionType::kVPrediction) {
      transfer.from_output = std::sqrt(alpha);
      transfer.from_sample = std::sqrt(beta);
    }
    scheduler->transfers_.push_back(transfer);
    scheduler->timesteps_.push_back(static_cast<float>(call.timestep));
  }
  return scheduler;
}

at::Tensor PndmScheduler::Apply(const Transfer& transfer, const at::Tensor& model_output,
                                const at::Tensor& sample) const {
  const double keep = transfer.sample_factor + transfer.noise_factor * transfer.from_sample;
  return at::add(sample * keep, model_output, transfer.noise_factor * transfer.from_output);
}

at::Tensor PndmScheduler::RungeKuttaStep(const at::Tensor& model_output, int i, const at::Tensor& sample) {
  switch (i % 4) {
    case 0:
      accumulated_ = model_output * (1.0 / 6);
      history_.push_back(model_output);
      held_sample_ = sample;
      break;
    case 1:
    case 2:
      accumulated_ = at::add(accumulated_, model_output, 1.0 / 3);
      break;
    default:
      return Apply(transfers_[i], at::add(accumulated_, model_output, 1.0 / 6), held_sample_);
  }
  return Apply(transfers_[i], model_output, held_sample_);
}

at::Tensor PndmScheduler::MultistepStep(const at::Tensor& model_output, int i, const at::Tensor& sample) {
  if (repeats_second_call_ && i == 1) {
    return Apply(transfers_[i], (model_output + history_.back()) * 0.5, held_sample_);
  }
  if (history_.size() == kOrder) history_.pop_front();
  history_.push_back(model_output);
  const auto newest = history_.rbegin();
  switch (history_.size()) {
    case 1:
      held_sample_ = sample;
      return Apply(transfers_[i], model_output, sample);
    case 2:
      return Apply(transfers_[i], at::add(newest[0] * 1.5, newest[1], -0.5), sample);
    case 3:
      return Apply(transfers_[i],
                   at::add(at::add(newest[0] * (23.0 / 12), newest[1], -16.0 / 12), newest[2], 5.0 / 12),
                   sample);
    default:
      return Apply(
          transfers_[i],
          at::add(at::add(at::add(newest[0] * (55.0 / 24), newest[1], -59.0 / 24), newest[2], 37.0 / 24),
                  newest[3], -9.0 / 24),
          sample);
  }
}

at::Tensor PndmScheduler::Step(const at::Tensor& model_output, int i, const at::Tensor& sample) {
  return i < warm_up_calls_ ? RungeKuttaStep(model_output, i, sample)
                            : MultistepStep(model_output, i, sample);
}

}  // namespace rsidiff::worker
