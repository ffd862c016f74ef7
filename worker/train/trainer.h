#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/sampler/noise_schedule.h"
#include "worker/tensor/safetensors.h"
#include "worker/train/batch_source.h"
#include "worker/train/gradient_buckets.h"
#include "worker/train/learning_rate.h"
#include "worker/train/objective.h"
#include "worker/train/optimizer.h"
#include "worker/train/process_group.h"
#include "worker/train/training_state.h"

namespace rsidiff::worker {

struct TrainerOptions {
  LearningRateOptions learning_rate;  // its total_steps is the length of the training
  AdamWOptions adamw;
  double max_grad_norm = 1.0;  // 0: no clipping
  double ema_decay = 0.0;      // 0: no moving average
  ObjectiveOptions objective;
  uint32_t micro_batch = 8;       // samples of one forward pass
  uint64_t checkpoint_every = 0;  // steps; 0: never
  int64_t bucket_bytes = int64_t{25} << 20;
};

/// What is trained. The trainer takes the tensors over: fp32 ones become views of its master weights.
struct TrainableModel {
  /// The tensors that `forward` reads; of one floating type on one device.
  NamedTensors parameters;
  /// fp32 starting values in the same order, for parameters that compute in half precision; empty: the
  /// parameters' own.
  NamedTensors masters;
  /// Prediction [n, C, h, w] for noisy latents, timesteps [n] and text embeddings [n, S, D].
  std::function<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&)> forward;
};

/// The processes that train together for a while.
struct Membership {
  uint64_t generation = 0;
  /// `group.world` 1 needs no store and no group.
  ProcessGroupOptions group;
};

struct StepReport {
  uint64_t generation = 0;
  uint64_t step = 0;  // optimizer steps applied, this one included
  int world = 1;
  double loss = 0.0;       // of the whole global batch, before the step
  double grad_norm = 0.0;  // before clipping
  double learning_rate = 0.0;
};

/// Called on the training thread, between steps.
struct TrainerCallbacks {
  /// Once in every Run, when the members have come to one state and nothing but the steps is left to do.
  std::function<void(uint64_t step)> on_start;
  /// After every step that is applied here.
  std::function<void(const StepReport&)> on_step;
  /// True: a new membership is wanted. All members leave after the same step.
  std::function<bool()> should_regroup;
  /// True: leave at once; the others see a lost peer.
  std::function<bool()> cancelled;
  /// On rank 0, after every `checkpoint_every` steps but not after the last: the state is due to be made
  /// durable. The other members wait in their next operation, so where there are any this has to end well
  /// within the group's timeout (CheckpointWriter). An error ends Run with it.
  std::function<absl::Status(uint64_t step)> on_checkpoint;
};

enum class RunEnd { kFinished, kRegroup, kPeerFailed, kCancelled };

struct RunOutcome {
  RunEnd end = RunEnd::kFinished;
  uint64_t step = 0;   // optimizer steps applied
  std::string reason;  // of kPeerFailed
};

/// Fine-tunes a denoiser, alone or as one of several members that come and go. A step's samples, noise and
/// timesteps depend on (seed, step, position) and its gradient is that of the mean over the global batch, so
/// the number of members changes the speed and (but for the order of fp32 sums) nothing else.
///
/// A step is applied only after every gradient bucket and the members' report were summed without an error:
/// two members never differ by more than one step, and the one behind receives the other's state when the
/// next generation starts. One thread.
class Trainer {
 public:
  /// INVALID_ARGUMENT for a model without parameters or options that make no sense.
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(const TrainerOptions& options, TrainableModel model,
                                                         const NoiseSchedule& schedule,
                                                         std::unique_ptr<BatchSource> batches);

  /// Joins the membership, brings all members to one state, and trains until the last step, or until the
  /// group breaks, or all agreed to regroup. Whatever the outcome, the state is that of the last applied
  /// step (or incomplete, see SynchronizeState).
  ///
  /// Errors: DATA_LOSS (SynchronizeState); INVALID_ARGUMENT naming step and sample for a loss, or the step
  /// for a gradient, that is not finite: that step is not applied; what on_checkpoint returned; INTERNAL for
  /// an error of the numeric library.
  absl::StatusOr<RunOutcome> Run(const Membership& membership, const TrainerCallbacks& callbacks);

  uint64_t step() const { return state_.step; }
  bool has_state() const { return state_.complete; }
  const TrainingState& state() const { return state_; }

  /// WriteTrainingState of the state. FAILED_PRECONDITION while it is incomplete.
  absl::Status WriteCheckpoint(const std::filesystem::path& path) const;
  /// Goes on from a file that WriteCheckpoint made with the same model and options.
  absl::Status Restore(const std::filesystem::path& path);

  /// What the training is for: the moving average where there is one, else the parameters; fp32 views by
  /// parameter name.
  NamedTensors Product() const;

 private:
  struct LocalSums;
  struct StepResult;

  Trainer(const TrainerOptions& options, TrainableModel model, const NoiseSchedule& schedule,
          std::unique_ptr<BatchSource> batches);
  absl::StatusOr<RunOutcome> RunSteps(const Membership& membership, ProcessGroup* group,
                                      const TrainerCallbacks& callbacks);
  LocalSums ComputeGradients(ProcessGroup* group, int rank, int world);
  absl::StatusOr<StepResult> ComputeStep(ProcessGroup* group, bool regroup);
  /// Returns the norm before the clipping, rank 0's for all. UNAVAILABLE: a peer is gone.
  absl::StatusOr<double> ClipGradients(ProcessGroup* group);
  absl::Status CheckFinite(const at::Tensor& report) const;
  StepReport Apply(double loss);
  void PublishParameters();

  TrainerOptions options_;
  TrainableModel model_;
  NoiseSchedule schedule_;
  std::unique_ptr<BatchSource> batches_;
  at::Device device_;
  TrainingState state_;
  std::unique_ptr<GradientBuckets> gradients_;
};

}  // namespace rsidiff::worker
