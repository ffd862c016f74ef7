#include "worker/sampler/ddim_scheduler.h"

#include <cmath>

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "worker/sampler/timestep_spacing.h"

namespace rsidiff::worker {

absl::StatusOr<std::unique_ptr<Scheduler>> DdimScheduler::Create(const SchedulerConfig& config,
                                                                 const NoiseSchedule& noise, int steps) {
  auto scheduler = std::make_unique<DdimScheduler>();
  scheduler->clip_range_ = config.clip_sample_range;
  const std::vector<float>& alphas = noise.alphas_cumprod();
  const double final_alpha = config.set_alpha_to_one ? 1.0 : alphas[0];
  for (double spaced : SpacedTimesteps(config, steps)) {
    const int timestep = static_cast<int>(std::nearbyint(spaced));
    if (timestep < 0 || timestep >= noise.num_train_timesteps()) {
      return absl::InvalidArgumentError(absl::StrCat(steps, " steps of DDIM with steps_offset ",
                                                     config.steps_offset, " reach the timestep ", timestep,
                                                     ", outside of the schedule"));
    }
    const int previous = timestep - noise.num_train_timesteps() / steps;
    const double alpha = alphas[timestep], root = std::sqrt(alpha), noise_root = std::sqrt(1 - alpha);
    const double next_alpha = previous >= 0 ? alphas[previous] : final_alpha;
    Coefficients c{};
    switch (config.prediction_type) {
      case PredictionType::kEpsilon:
        c = {1 / root, -noise_root / root, 0, 1, 0, 0};
        break;
      case PredictionType::kSample:
        c = {0, 1, 1 / noise_root, -root / noise_root, 0, 0};
        break;
      case PredictionType::kVPrediction:
        c = {root, -noise_root, noise_root, root, 0, 0};
        break;
    }
    c.next_x0 = std::sqrt(next_alpha);
    c.next_noise = std::sqrt(1 - next_alpha);
    scheduler->steps_.push_back(c);
    scheduler->timesteps_.push_back(static_cast<float>(timestep));
  }
  return scheduler;
}

at::Tensor DdimScheduler::Step(const at::Tensor& model_output, int i, const at::Tensor& sample) {
  const Coefficients& c = steps_[i];
  if (!clip_range_.has_value()) {
    const double keep = c.next_x0 * c.x0_sample + c.next_noise * c.noise_sample;
    const double add = c.next_x0 * c.x0_output + c.next_noise * c.noise_output;
    return at::add(sample * keep, model_output, add);
  }
  const at::Tensor x0 =
      at::add(sample * c.x0_sample, model_output, c.x0_output).clamp_(-*clip_range_, *clip_range_);
  const at::Tensor noise = at::add(sample * c.noise_sample, model_output, c.noise_output);
  return at::add(x0 * c.next_x0, noise, c.next_noise);
}

}  // namespace rsidiff::worker
