#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace rsidiff::worker {

struct BatchPlanOptions {
  uint64_t seed = 0;
  /// Samples an optimizer step sees over all members together.
  uint32_t global_batch = 64;
  /// Share of the positions, over all steps, that take replay examples; ignored where there are none.
  double replay = 0.0;
  /// Share of positions whose caption is replaced by the empty one.
  double caption_dropout = 0.0;
  uint32_t num_train_timesteps = 1000;
};

/// What one position of one global batch consists of.
struct Draw {
  uint32_t example = 0;  // index into the training set
  uint64_t noise_seed = 0;
  uint32_t timestep = 0;
  bool drop_caption = false;
};

/// Which example, noise and timestep every position of every step gets: a pure function of (seed, step,
/// position), so it does not depend on who computes it, and a redone step is the same step.
///
/// Both pools, the round's own examples and the replayed ones, are gone through epoch by epoch, each
/// epoch in a fresh order. Not thread-safe: keeps the current epoch's order.
class BatchPlan {
 public:
  /// `is_replay[i]` says which pool example i belongs to. INVALID_ARGUMENT: no example, an empty own pool
  /// with replay below 1, an empty batch, or a share outside 0..1.
  static absl::StatusOr<BatchPlan> Create(const BatchPlanOptions& options,
                                          const std::vector<bool>& is_replay);

  Draw At(uint64_t step, uint32_t position);

  const BatchPlanOptions& options() const { return options_; }

 private:
  struct Pool {
    std::vector<uint32_t> examples;
    std::vector<uint32_t> order;  // of `epoch`
    uint64_t epoch = UINT64_MAX;
  };

  BatchPlan() = default;
  uint32_t Take(Pool& pool, uint64_t pool_id, uint64_t index);

  BatchPlanOptions options_;
  uint64_t replay_share_ = 0;  // in 2^-20
  Pool own_;
  Pool replay_;
};

/// The positions [begin, end) of a global batch of `batch` that belong to `rank` of `world`: contiguous,
/// together the whole batch, lengths differing by at most one (so some are empty where world > batch).
std::pair<uint32_t, uint32_t> SliceOfRank(uint32_t batch, uint32_t rank, uint32_t world);

}  // namespace rsidiff::worker
