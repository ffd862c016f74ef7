#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "worker/train/batch_plan.h"

namespace rsidiff::worker {

/// n positions of a global batch, on the CPU.
struct TrainingBatch {
  at::Tensor latents;    // [n, C, h, w] fp32, with the VAE's scaling factor
  at::Tensor noise;      // same shape
  at::Tensor timesteps;  // [n] int64
  at::Tensor context;    // [n, S, D] fp32 text embeddings
  at::Tensor weights;    // [n] fp32
};

/// Where training batches come from. Every member's source gives the same for the same (step, position).
class BatchSource {
 public:
  virtual ~BatchSource() = default;
  virtual uint32_t global_batch() const = 0;
  /// Positions [begin, end) of the global batch of `step`.
  virtual TrainingBatch Get(uint64_t step, uint32_t begin, uint32_t end) = 0;
  /// What a person calls the sample at a position, for messages.
  virtual std::string Describe(uint64_t step, uint32_t position) = 0;
};

/// Samples to train on, all in memory.
struct TrainingSet {
  at::Tensor latents;               // [N, C, h, w] fp32
  at::Tensor contexts;              // [M, S, D] embeddings of the distinct captions, any floating dtype
  int64_t empty_context = 0;        // row of the empty caption's
  std::vector<int64_t> context_of;  // [N] row of each sample's caption
  std::vector<float> weights;       // [N]
  std::vector<bool> replay;         // [N] kept from an earlier round
  std::vector<std::string> names;   // [N]
};

/// Batches of a TrainingSet by a BatchPlan.
class PlannedBatches : public BatchSource {
 public:
  /// INVALID_ARGUMENT, naming the sample, for lengths that do not agree, a context row out of range, a
  /// latent that is not finite, or a weight that is negative or not finite; and what BatchPlan refuses.
  static absl::StatusOr<std::unique_ptr<PlannedBatches>> Create(TrainingSet set,
                                                                const BatchPlanOptions& options);

  uint32_t global_batch() const override { return plan_.options().global_batch; }
  TrainingBatch Get(uint64_t step, uint32_t begin, uint32_t end) override;
  std::string Describe(uint64_t step, uint32_t position) override;

 private:
  PlannedBatches(TrainingSet set, BatchPlan plan) : set_(std::move(set)), plan_(std::move(plan)) {}

  TrainingSet set_;
  BatchPlan plan_;
};

}  // namespace rsidiff::worker
