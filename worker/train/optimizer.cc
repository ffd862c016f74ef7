#include "worker/train/optimizer.h"

#include <ATen/ATen.h>

namespace rsidiff::worker {

double GradNorm(const std::vector<at::Tensor>& gradients) {
  std::vector<at::Tensor> row_norms;
  row_norms.reserve(gradients.size());
  // Rows first, then fp64 over the rows: one long fp32 sum would lose digits on large models.
  for (const at::Tensor& flat : gradients) {
    row_norms.push_back(
        at::linalg_vector_norm(flat.view({-1, FlatLayout::kAlignment}), 2, at::IntArrayRef{1}));
  }
  return at::linalg_vector_norm(at::cat(row_norms).to(at::kDouble), 2).item<double>();
}

void ClipToNorm(double norm, double max_norm, const std::vector<at::Tensor>& gradients) {
  if (max_norm <= 0.0 || norm <= max_norm) return;
  const double scale = max_norm / (norm + 1e-6);
  for (const at::Tensor& flat : gradients) flat.mul_(scale);
}

void ApplyAdamW(const AdamWOptions& options, double learning_rate, const std::vector<at::Tensor>& gradients,
                TrainingState& state) {
  // Every tensor of the list has a counter of its own in the kernel's interface; they are all equal.
  const at::Tensor count =
      at::full({}, static_cast<double>(state.step + 1), state.parameters.front().options());
  const std::vector<at::Tensor> counts(state.parameters.size(), count);
  at::_fused_adamw_(state.parameters, gradients, state.exp_avg, state.exp_avg_sq, /*max_exp_avg_sqs=*/{},
                    counts, learning_rate, options.beta1, options.beta2, options.weight_decay,
                    options.epsilon,
                    /*amsgrad=*/false, /*maximize=*/false);
  ++state.step;
}

void UpdateEma(double decay, TrainingState& state) {
  for (size_t i = 0; i < state.ema.size(); ++i) state.ema[i].lerp_(state.parameters[i], 1.0 - decay);
}

}  // namespace rsidiff::worker
