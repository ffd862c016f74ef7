#include "worker/sampler/dpm_solver_scheduler.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "worker/sampler/sigma_schedule.h"
#include "worker/sampler/timestep_spacing.h"

namespace rsidiff::worker {
namespace {

// diffusers takes lower orders at the end of trajectories shorter than this.
constexpr size_t kFewSteps = 15;

// A noise level in the variance-preserving form: alpha^2 + sigma^2 = 1, lambda = log(alpha / sigma).
struct Level {
  explicit Level(double ratio)
      : alpha(1 / std::sqrt(ratio * ratio + 1)),
        sigma(ratio * alpha),
        lambda(std::log(alpha) - std::log(sigma)) {}
  double alpha, sigma, lambda;
};

// The number of training timesteps whose lambda is at least `lambda_min`.
int UsableTimesteps(const SigmaSchedule& schedule, double lambda_min) {
  int usable = 0;
  for (float alpha : schedule.alphas_cumprod()) {
    const float lambda = std::log(std::sqrt(alpha)) - std::log(std::sqrt(1 - alpha));
    usable += lambda >= static_cast<float>(lambda_min) ? 1 : 0;
  }
  return usable;
}

std::vector<double> Timesteps(const SchedulerConfig& config, int usable, int steps) {
  std::vector<double> timesteps;
  switch (config.timestep_spacing) {
    case TimestepSpacing::kLinspace:
      for (double value : Linspace(0, usable - 1, steps + 1)) timesteps.push_back(std::nearbyint(value));
      break;
    case TimestepSpacing::kLeading:
      for (int i = 0; i <= steps; ++i) timesteps.push_back(i * (usable / (steps + 1)) + config.steps_offset);
      break;
    case TimestepSpacing::kTrailing:
      timesteps = RoundedCountdown(usable, static_cast<double>(config.num_train_timesteps) / steps);
      for (double& timestep : timesteps) timestep -= 1;
      return timesteps;
  }
  // Rising so far; the lowest is where the last step leads, not a call.
  std::reverse(timesteps.begin(), timesteps.end());
  timesteps.pop_back();
  return timesteps;
}

struct Trajectory {
  std::vector<double> timesteps;
  std::vector<double> sigmas;  // one more than timesteps
};

Trajectory PlanTrajectory(const SchedulerConfig& config, const SigmaSchedule& schedule, int steps) {
  Trajectory plan;
  if (config.sigma_spacing == SigmaSpacing::kTimesteps) {
    plan.timesteps = Timesteps(config, UsableTimesteps(schedule, config.lambda_min_clipped), steps);
    for (double timestep : plan.timesteps) plan.sigmas.push_back(schedule.SigmaAt(timestep));
  } else {
    plan.sigmas = SigmaSchedule::Spaced(config.sigma_spacing, schedule.sigmas().back(),
                                        schedule.sigmas().front(), steps);
    const bool rounded = config.sigma_spacing != SigmaSpacing::kExponential &&
                         config.beta_schedule != BetaSchedule::kSquaredCosine;
    for (double sigma : plan.sigmas) {
      const double timestep = schedule.TimestepOf(sigma);
      plan.timesteps.push_back(rounded ? std::nearbyint(timestep) : std::trunc(timestep));
    }
  }
  plan.sigmas.push_back(schedule.FinalSigma(config.final_sigma));
  for (double& sigma : plan.sigmas) sigma = static_cast<float>(sigma);
  return plan;
}

int OrderAt(const SchedulerConfig& config, size_t i, size_t calls) {
  const bool few = config.lower_order_final && calls < kFewSteps;
  const bool last = i + 1 == calls;
  if (last && (config.euler_at_final || few || config.final_sigma == FinalSigma::kZero)) return 1;
  int order = std::min<int>(config.solver_order, static_cast<int>(i) + 1);
  if (i + 2 == calls && few) order = std::min(order, 2);
  return order;
}

// Weights of the newest x0 estimates for a move from level[1] to level[0]; the levels behind are earlier.
std::vector<double> SolverWeights(SolverType solver, int order, const std::vector<Level>& level) {
  const double h = level[0].lambda - level[1].lambda;
  const double alpha = level[0].alpha;
  const double phi1 = std::expm1(-h);
  if (order == 1) return {-alpha * phi1};
  const double r0 = (level[1].lambda - level[2].lambda) / h;
  const double phi2 = phi1 / h + 1;
  if (order == 2) {
    const double slope = (solver == SolverType::kMidpoint ? -0.5 * phi1 : phi2) * alpha / r0;
    return {-alpha * phi1 + slope, -slope};
  }
  const double r1 = (level[2].lambda - level[3].lambda) / h;
  const double phi3 = (phi1 + h) / (h * h) - 0.5;
  // D1_0 = (m0 - m1) / r0 and D1_1 = (m1 - m2) / r1; D1 and D2 are combinations of the two.
  const double d1_first = alpha * phi2 * (1 + r0 / (r0 + r1)) - alpha * phi3 / (r0 + r1);
  const double d1_second = -alpha * phi2 * r0 / (r0 + r1) + alpha * phi3 / (r0 + r1);
  return {-alpha * phi1 + d1_first / r0, -d1_first / r0 + d1_second / r1, -d1_second / r1};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Scheduler>> DpmSolverScheduler::Create(const SchedulerConfig& config,
                                                                      const NoiseSchedule& noise, int steps) {
  const Trajectory plan = PlanTrajectory(config, SigmaSchedule(config, noise.alphas_cumprod()), steps);
  auto scheduler = std::make_unique<DpmSolverScheduler>();
  const size_t calls = plan.timesteps.size();
  for (size_t i = 0; i < calls; ++i) {
    const int order = OrderAt(config, i, calls);
    std::vector<Level> levels;  // of the next call, this one, and those before
    for (int k = 0; k <= order; ++k) levels.emplace_back(plan.sigmas[i + 1 - k]);
    const Level& level = levels[1];
    Coefficients c{1 / level.alpha, -level.sigma / level.alpha, levels[0].sigma / level.sigma, {}};
    if (config.prediction_type == PredictionType::kSample) {
      c.x0_sample = 0;
      c.x0_output = 1;
    } else if (config.prediction_type == PredictionType::kVPrediction) {
      c.x0_sample = level.alpha;
      c.x0_output = -level.sigma;
    }
    c.weights = SolverWeights(config.solver_type, order, levels);
    scheduler->steps_.push_back(std::move(c));
    scheduler->timesteps_.push_back(static_cast<float>(plan.timesteps[i]));
  }
  return scheduler;
}

at::Tensor DpmSolverScheduler::Step(const at::Tensor& model_output, int i, const at::Tensor& sample) {
  const Coefficients& c = steps_[i];
  history_.push_front(c.x0_sample == 0 ? model_output
                                       : at::add(sample * c.x0_sample, model_output, c.x0_output));
  if (history_.size() > 3) history_.pop_back();
  at::Tensor next = sample * c.keep;
  for (size_t k = 0; k < c.weights.size(); ++k) next = at::add(next, history_[k], c.weights[k]);
  return next;
}

}  // namespace rsidiff::worker
