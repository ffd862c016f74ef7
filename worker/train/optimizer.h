#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "worker/train/training_state.h"

namespace rsidiff::worker {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;
};

/// L2 norm over all gradients. Waits for the device.
double GradNorm(const std::vector<at::Tensor>& gradients);

/// Where `norm`, the gradients' own, exceeds `max_norm` (and that is above 0) scales them by
/// max_norm / (norm + 1e-6), as torch.nn.utils.clip_grad_norm_.
void ClipToNorm(double norm, double max_norm, const std::vector<at::Tensor>& gradients);

/// One step of AdamW with decoupled weight decay (Loshchilov and Hutter 2019, as torch.optim.AdamW) on the
/// buckets of `state`; adds 1 to state.step.
void ApplyAdamW(const AdamWOptions& options, double learning_rate, const std::vector<at::Tensor>& gradients,
                TrainingState& state);

/// ema += (1 - decay) * (parameters - ema).
void UpdateEma(double decay, TrainingState& state);

}  // namespace rsidiff::worker
