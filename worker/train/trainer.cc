#include "worker/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include "absl/strings/str_cat.h"
#include "common/base/fault_point.h"
#include "common/base/status_macros.h"
#include "worker/train/checkpoint.h"
#include "worker/train/state_sync.h"

namespace rsidiff::worker {
namespace {

absl::Status CheckModel(const TrainerOptions& options, const TrainableModel& model,
                        const BatchSource& batches) {
  if (model.parameters.empty()) return absl::InvalidArgumentError("there is no parameter to train");
  if (options.micro_batch == 0) return absl::InvalidArgumentError("the micro batch is empty");
  if (batches.global_batch() == 0) return absl::InvalidArgumentError("the global batch is empty");
  if (!(options.ema_decay >= 0.0 && options.ema_decay < 1.0)) {
    return absl::InvalidArgumentError(absl::StrCat("EMA decay is not within 0..1: ", options.ema_decay));
  }
  const at::Tensor& first = model.parameters.front().second;
  for (const auto& [name, tensor] : model.parameters) {
    if (tensor.scalar_type() != first.scalar_type() || tensor.device() != first.device()) {
      return absl::InvalidArgumentError(
          absl::StrCat("parameter differs in type or device from the others: ", name));
    }
  }
  if (model.masters.empty()) return absl::OkStatus();
  if (model.masters.size() != model.parameters.size()) {
    return absl::InvalidArgumentError("there are not as many master weights as parameters");
  }
  for (size_t i = 0; i < model.masters.size(); ++i) {
    if (model.masters[i].first != model.parameters[i].first ||
        model.masters[i].second.sizes() != model.parameters[i].second.sizes()) {
      return absl::InvalidArgumentError(
          absl::StrCat("master weight does not match parameter ", model.parameters[i].first));
    }
  }
  return absl::OkStatus();
}

RunOutcome PeerFailed(uint64_t step, const absl::Status& status) {
  return {RunEnd::kPeerFailed, step, std::string(status.message())};
}

bool Asked(const std::function<bool()>& question) {
  return question && question();
}

}  // namespace

// One member's part of a step's report.
struct Trainer::LocalSums {
  double loss = 0.0;
  uint32_t bad_position = UINT32_MAX;  // the first with a loss that is not finite
};

struct Trainer::StepResult {
  double loss = 0.0;
  bool regroup = false;
};

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(const TrainerOptions& options, TrainableModel model,
                                                         const NoiseSchedule& schedule,
                                                         std::unique_ptr<BatchSource> batches) {
  RSIDIFF_RETURN_IF_ERROR(CheckModel(options, model, *batches));
  try {
    return std::unique_ptr<Trainer>(new Trainer(options, std::move(model), schedule, std::move(batches)));
  } catch (const c10::Error& error) {
    return absl::InternalError(absl::StrCat("preparing the training: ", error.what_without_backtrace()));
  }
}

Trainer::Trainer(const TrainerOptions& options, TrainableModel model, const NoiseSchedule& schedule,
                 std::unique_ptr<BatchSource> batches)
    : options_(options),
      model_(std::move(model)),
      schedule_(schedule),
      batches_(std::move(batches)),
      device_(model_.parameters.front().second.device()) {
  c10::NoGradGuard no_grad;
  state_.layout = FlatLayout::Of(model_.parameters, options_.bucket_bytes);
  state_.parameters = state_.layout.Allocate(device_);
  const NamedTensors& start = model_.masters.empty() ? model_.parameters : model_.masters;
  for (size_t i = 0; i < start.size(); ++i) {
    const at::Tensor view = state_.layout.View(state_.parameters, state_.layout.slots()[i]);
    view.copy_(start[i].second);
    at::Tensor parameter = model_.parameters[i].second;
    // Every handle of this tensor, the model's own included, sees the new memory.
    if (parameter.scalar_type() == at::kFloat) parameter.set_data(view);
  }
  model_.masters.clear();
  state_.exp_avg = state_.layout.Allocate(device_);
  state_.exp_avg_sq = state_.layout.Allocate(device_);
  if (options_.ema_decay > 0.0) {
    for (const at::Tensor& flat : state_.parameters) state_.ema.push_back(flat.clone());
  }
  PublishParameters();
  gradients_ = std::make_unique<GradientBuckets>(state_.layout, model_.parameters, device_);
}

void Trainer::PublishParameters() {
  if (model_.parameters.front().second.scalar_type() == at::kFloat) return;
  c10::NoGradGuard no_grad;
  for (size_t i = 0; i < model_.parameters.size(); ++i) {
    model_.parameters[i].second.copy_(state_.layout.View(state_.parameters, state_.layout.slots()[i]));
  }
}

absl::StatusOr<RunOutcome> Trainer::Run(const Membership& membership, const TrainerCallbacks& callbacks) {
  try {
    if (membership.group.world <= 1) {
      if (!state_.complete) return absl::DataLossError("no training member holds a complete state");
      return RunSteps(membership, nullptr, callbacks);
    }
    ProcessGroupOptions group_options = membership.group;
    group_options.device = device_;
    FaultPoint("train.join");
    absl::StatusOr<std::unique_ptr<ProcessGroup>> group = ProcessGroup::Join(group_options);
    if (!group.ok()) return PeerFailed(state_.step, group.status());
    const absl::StatusOr<SyncReport> synced = SynchronizeState(**group, state_);
    if (absl::IsUnavailable(synced.status())) return PeerFailed(state_.step, synced.status());
    if (!synced.ok()) return synced.status();
    if (synced->received) PublishParameters();
    return RunSteps(membership, group->get(), callbacks);
  } catch (const c10::Error& error) {
    return absl::InternalError(
        absl::StrCat("training step ", state_.step, ": ", error.what_without_backtrace()));
  }
}

absl::StatusOr<RunOutcome> Trainer::RunSteps(const Membership& membership, ProcessGroup* group,
                                             const TrainerCallbacks& callbacks) {
  const uint64_t steps = options_.learning_rate.total_steps;
  if (callbacks.on_start) callbacks.on_start(state_.step);
  while (state_.step < steps) {
    if (Asked(callbacks.cancelled)) return RunOutcome{RunEnd::kCancelled, state_.step, ""};
    const absl::StatusOr<StepResult> result = ComputeStep(group, Asked(callbacks.should_regroup));
    if (absl::IsUnavailable(result.status())) return PeerFailed(state_.step, result.status());
    if (!result.ok()) return result.status();
    const absl::StatusOr<double> norm = ClipGradients(group);
    if (absl::IsUnavailable(norm.status())) return PeerFailed(state_.step, norm.status());
    if (!norm.ok()) return norm.status();
    FaultPoint("train.reduced");
    StepReport report = Apply(result->loss);
    report.generation = membership.generation;
    report.world = membership.group.world;
    report.grad_norm = *norm;
    FaultPoint("train.applied");
    if (callbacks.on_step) callbacks.on_step(report);
    const bool last = state_.step >= steps;
    const bool due = options_.checkpoint_every > 0 && state_.step % options_.checkpoint_every == 0 && !last;
    if (due) FaultPoint("train.checkpoint");
    if (due && membership.group.rank == 0 && callbacks.on_checkpoint) {
      RSIDIFF_RETURN_IF_ERROR(callbacks.on_checkpoint(state_.step));
    }
    if (result->regroup && !last) return RunOutcome{RunEnd::kRegroup, state_.step, ""};
  }
  return RunOutcome{RunEnd::kFinished, state_.step, ""};
}

absl::StatusOr<double> Trainer::ClipGradients(ProcessGroup* group) {
  double norm = GradNorm(gradients_->flats());
  if (group != nullptr) {
    // Another kind of processor sums in another order: with a norm of its own each member's parameters would
    // part from the others'.
    const at::Tensor shared = at::full({1}, norm, at::TensorOptions().dtype(at::kDouble).device(device_));
    RSIDIFF_RETURN_IF_ERROR(group->Broadcast(shared, 0));
    norm = shared.item<double>();
  }
  if (!std::isfinite(norm)) {
    return absl::InvalidArgumentError(
        absl::StrCat("training step ", state_.step, ": the gradient is not finite"));
  }
  ClipToNorm(norm, options_.max_grad_norm, gradients_->flats());
  return norm;
}

Trainer::LocalSums Trainer::ComputeGradients(ProcessGroup* group, int rank, int world) {
  const uint32_t batch = batches_->global_batch();
  const auto [begin, end] = SliceOfRank(batch, static_cast<uint32_t>(rank), static_cast<uint32_t>(world));
  const at::ScalarType dtype = model_.parameters.front().second.scalar_type();
  std::vector<at::Tensor> losses;
  gradients_->Begin(group);
  for (uint32_t first = begin; first < end; first += options_.micro_batch) {
    const uint32_t last = std::min(end, first + options_.micro_batch);
    if (first == begin) FaultPoint("train.forward");
    const TrainingBatch micro = batches_->Get(state_.step, first, last);
    const NoisedBatch noised = AddTrainingNoise(schedule_, micro.latents.to(device_), micro.noise.to(device_),
                                                micro.timesteps.to(device_));
    if (last == end) {
      FaultPoint("train.backward");
      gradients_->LastBackward();
    }
    c10::AutoGradMode grad(true);
    const at::Tensor prediction =
        model_.forward(noised.noisy.to(dtype), micro.timesteps.to(device_), micro.context.to(device_, dtype));
    const at::Tensor weighted =
        SampleLosses(options_.objective, schedule_, prediction, noised.target, micro.timesteps) *
        micro.weights.to(device_);
    (weighted.sum() / static_cast<double>(batch)).backward();
    losses.push_back(weighted.detach());
  }
  LocalSums sums;
  if (losses.empty()) return sums;
  const at::Tensor host = at::cat(losses).cpu().to(at::kDouble);
  const double* values = host.const_data_ptr<double>();
  for (int64_t i = 0; i < host.numel(); ++i) {
    sums.loss += values[i] / batch;
    if (!std::isfinite(values[i]))
      sums.bad_position = std::min(sums.bad_position, begin + static_cast<uint32_t>(i));
  }
  return sums;
}

absl::StatusOr<Trainer::StepResult> Trainer::ComputeStep(ProcessGroup* group, bool regroup) {
  const int rank = group != nullptr ? group->rank() : 0;
  const int world = group != nullptr ? group->world() : 1;
  const LocalSums sums = ComputeGradients(group, rank, world);
  // The report, summed after the last bucket: the loss, the wish to regroup, and a place for each member to
  // say which position went wrong. Who gets its sum knows that everybody has all gradients.
  const at::Tensor host = at::zeros({2 + world}, at::kDouble);
  host[0] = sums.loss;
  host[1] = regroup ? 1.0 : 0.0;
  if (sums.bad_position != UINT32_MAX) host[2 + rank] = 1.0 + sums.bad_position;
  at::Tensor report = host;
  RSIDIFF_RETURN_IF_ERROR(gradients_->Finish());
  if (group != nullptr) {
    report = host.to(device_);
    RSIDIFF_RETURN_IF_ERROR(group->Sum(report));
    report = report.cpu();
  }
  RSIDIFF_RETURN_IF_ERROR(CheckFinite(report));
  return StepResult{report[0].item<double>(), report[1].item<double>() > 0.0};
}

absl::Status Trainer::CheckFinite(const at::Tensor& report) const {
  for (int64_t i = 2; i < report.numel(); ++i) {
    const double mark = report[i].item<double>();
    if (mark == 0.0) continue;
    const auto position = static_cast<uint32_t>(mark - 1.0);
    return absl::InvalidArgumentError(absl::StrCat("training step ", state_.step, ", sample ",
                                                   batches_->Describe(state_.step, position),
                                                   ": the loss is not finite"));
  }
  return absl::OkStatus();
}

StepReport Trainer::Apply(double loss) {
  c10::NoGradGuard no_grad;
  StepReport report;
  report.loss = loss;
  report.learning_rate = LearningRateAt(options_.learning_rate, state_.step);
  state_.complete = false;  // until all of it is updated
  ApplyAdamW(options_.adamw, report.learning_rate, gradients_->flats(), state_);
  UpdateEma(EmaDecayAt(options_.ema_decay, state_.step), state_);
  state_.complete = true;
  report.step = state_.step;
  PublishParameters();
  return report;
}

absl::Status Trainer::WriteCheckpoint(const std::filesystem::path& path) const {
  if (!state_.complete) return absl::FailedPreconditionError("the training state is incomplete");
  return WriteTrainingState(path, state_);
}

absl::Status Trainer::Restore(const std::filesystem::path& path) {
  c10::NoGradGuard no_grad;
  RSIDIFF_RETURN_IF_ERROR(ReadTrainingState(path, state_));
  state_.complete = true;
  PublishParameters();
  return absl::OkStatus();
}

NamedTensors Trainer::Product() const {
  const std::vector<at::Tensor>& flats = state_.ema.empty() ? state_.parameters : state_.ema;
  NamedTensors product;
  for (const FlatLayout::Slot& slot : state_.layout.slots()) {
    product.emplace_back(slot.name, state_.layout.View(flats, slot));
  }
  return product;
}

}  // namespace rsidiff::worker
