#include "worker/sampler/noise_schedule.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"

namespace rsidiff::worker {
namespace {

constexpr double kPi = 3.14159265358979323846;

at::TensorOptions Fp32() {
  return at::TensorOptions().dtype(at::kFloat);
}

// The cosine schedule of Nichol and Dhariwal (arXiv 2102.09672), betas capped at 0.999.
at::Tensor CosineBetas(int count) {
  auto alpha_bar = [](double t) {
    const double cosine = std::cos((t + 0.008) / 1.008 * kPi / 2);
    return cosine * cosine;
  };
  std::vector<float> betas(count);
  for (int i = 0; i < count; ++i) {
    const double ratio =
        alpha_bar(static_cast<double>(i + 1) / count) / alpha_bar(static_cast<double>(i) / count);
    betas[i] = static_cast<float>(std::min(1 - ratio, 0.999));
  }
  return at::tensor(betas, Fp32());
}

at::Tensor MakeBetas(const SchedulerConfig& config) {
  const int count = config.num_train_timesteps;
  if (!config.trained_betas.empty()) {
    return at::tensor(std::vector<float>(config.trained_betas.begin(), config.trained_betas.end()), Fp32());
  }
  switch (config.beta_schedule) {
    case BetaSchedule::kScaledLinear:
      return at::linspace(std::sqrt(config.beta_start), std::sqrt(config.beta_end), count, Fp32()).square();
    case BetaSchedule::kSquaredCosine:
      return CosineBetas(count);
    case BetaSchedule::kLinear:
      break;
  }
  return at::linspace(config.beta_start, config.beta_end, count, Fp32());
}

// Zero terminal signal-to-noise ratio (Lin et al., arXiv 2305.08891, algorithm 1).
at::Tensor RescaleToZeroSnr(const at::Tensor& betas) {
  at::Tensor roots = at::cumprod(1 - betas, 0).sqrt();
  const at::Tensor first = roots[0].clone(), last = roots[-1].clone();
  roots = (roots - last) * (first / (first - last));
  const at::Tensor products = roots.square();
  const at::Tensor alphas =
      at::cat({products.slice(0, 0, 1), products.slice(0, 1) / products.slice(0, 0, -1)});
  return 1 - alphas;
}

}  // namespace

absl::StatusOr<NoiseSchedule> NoiseSchedule::Create(const SchedulerConfig& config) {
  at::Tensor betas = MakeBetas(config);
  if (config.rescale_betas_zero_snr) betas = RescaleToZeroSnr(betas);
  const at::Tensor products = at::cumprod(1 - betas, 0).contiguous();
  const float* data = products.const_data_ptr<float>();
  std::vector<float> alphas_cumprod(data, data + products.numel());
  for (size_t t = 0; t < alphas_cumprod.size(); ++t) {
    if (!(alphas_cumprod[t] >= 0 && alphas_cumprod[t] <= 1)) {
      return absl::InvalidArgumentError(absl::StrCat("the noise schedule's cumulative alpha at timestep ", t,
                                                     " is not from 0 to 1: ", alphas_cumprod[t]));
    }
  }
  return NoiseSchedule(std::move(alphas_cumprod), config.prediction_type);
}

NoiseSchedule::NoiseSchedule(std::vector<float> alphas_cumprod, PredictionType prediction_type)
    : alphas_cumprod_(std::move(alphas_cumprod)),
      alphas_cumprod_tensor_(at::tensor(alphas_cumprod_, Fp32())),
      prediction_type_(prediction_type) {}

at::Tensor NoiseSchedule::AlphasAt(const at::Tensor& timesteps, const at::Tensor& like) const {
  std::vector<int64_t> shape(like.dim(), 1);
  shape[0] = timesteps.numel();
  return alphas_cumprod_tensor_.to(timesteps.device())
      .index_select(0, timesteps)
      .view(shape)
      .to(like.device());
}

at::Tensor NoiseSchedule::AddNoise(const at::Tensor& x0, const at::Tensor& noise,
                                   const at::Tensor& timesteps) const {
  const at::Tensor alphas = AlphasAt(timesteps, x0);
  return alphas.sqrt().to(x0.scalar_type()) * x0 + (1 - alphas).sqrt().to(x0.scalar_type()) * noise;
}

at::Tensor NoiseSchedule::Target(const at::Tensor& x0, const at::Tensor& noise,
                                 const at::Tensor& timesteps) const {
  if (prediction_type_ == PredictionType::kEpsilon) return noise;
  if (prediction_type_ == PredictionType::kSample) return x0;
  const at::Tensor alphas = AlphasAt(timesteps, x0);
  return alphas.sqrt().to(x0.scalar_type()) * noise - (1 - alphas).sqrt().to(x0.scalar_type()) * x0;
}

at::Tensor NoiseSchedule::SignalToNoise(const at::Tensor& timesteps) const {
  const at::Tensor alphas = AlphasAt(timesteps, timesteps);
  return alphas / (1 - alphas);
}

}  // namespace rsidiff::worker
