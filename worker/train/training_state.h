#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "worker/train/flat_layout.h"

namespace rsidiff::worker {

/// Everything that a training step changes. All tensors are flat fp32 buckets of one layout on one device.
/// There is no generator state: noise and order are functions of the step (BatchPlan).
struct TrainingState {
  FlatLayout layout;
  std::vector<at::Tensor> parameters;  // master weights
  std::vector<at::Tensor> exp_avg;     // AdamW's first moment
  std::vector<at::Tensor> exp_avg_sq;  // and second
  std::vector<at::Tensor> ema;         // empty when there is no moving average
  uint64_t step = 0;                   // optimizer steps applied
  bool complete = true;                // false: a part was overwritten and the rest never came

  /// A fixed order of every bucket of every kind.
  std::vector<at::Tensor> Buckets() const;

  /// "parameters/NAME", "exp_avg/NAME", "exp_avg_sq/NAME" and "ema/NAME" views of the buckets.
  NamedTensors Views() const;

  /// 64 bits over all values and the step, in one pass at memory speed: tells members that have diverged.
  /// Not cryptographic; checkpoints carry SHA-256.
  uint64_t Fingerprint() const;
};

}  // namespace rsidiff::worker
