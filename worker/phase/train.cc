#include "worker/phase/train.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "common/base/status_macros.h"
#include "worker/model/unet_2d_condition_model.h"
#include "worker/phase/spec_settings.h"
#include "worker/phase/training_set.h"
#include "worker/train/lora.h"
#include "worker/train/trainer.h"

namespace rsidiff::worker {
namespace {

namespace fs = std::filesystem;

TrainerOptions OptionsOf(const v1::TrainSpec& spec) {
  TrainerOptions options;
  options.learning_rate.peak = spec.learning_rate();
  options.learning_rate.shape = spec.schedule() == v1::LEARNING_RATE_SCHEDULE_COSINE
                                    ? LearningRateShape::kCosine
                                    : LearningRateShape::kConstant;
  options.learning_rate.warmup_steps = spec.warmup_steps();
  options.learning_rate.total_steps = spec.steps();
  options.adamw = {spec.beta1(), spec.beta2(), spec.epsilon(), spec.weight_decay()};
  options.max_grad_norm = spec.max_grad_norm();
  options.ema_decay = spec.ema_decay();
  options.micro_batch = spec.micro_batch();
  options.checkpoint_every = spec.checkpoint_every();
  return options;
}

BatchPlanOptions PlanOf(const v1::TaskPayload& payload, const NoiseSchedule& schedule) {
  const v1::TrainSpec& spec = payload.spec().train();
  BatchPlanOptions plan;
  plan.seed = payload.train().seed();
  plan.global_batch = spec.global_batch();
  plan.replay = spec.replay();
  plan.caption_dropout = spec.caption_dropout();
  plan.num_train_timesteps = static_cast<uint32_t>(schedule.num_train_timesteps());
  return plan;
}

/// The denoiser of one training, apart from the model that draws samples: its parameters move.
struct Denoiser {
  std::unique_ptr<UNet2DConditionModel> unet;
  LoraWeights lora;  // empty: the whole UNet is trained
  TrainableModel trainable;
};

absl::StatusOr<std::unique_ptr<UNet2DConditionModel>> LoadUnet(const fs::path& folder,
                                                               const fs::path& checkpoint,
                                                               const ComputeOptions& compute) {
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<UNet2DConditionModel> unet,
                           UNet2DConditionModel::Load(folder, compute));
  if (checkpoint.empty()) return unet;
  RSIDIFF_ASSIGN_OR_RETURN(std::shared_ptr<SafetensorsFile> file, SafetensorsFile::Open(checkpoint));
  RSIDIFF_ASSIGN_OR_RETURN(NamedTensors tensors, file->GetAll());
  RSIDIFF_RETURN_IF_ERROR(unet->parameters().Assign(tensors, Parameters::Coverage::kAll));
  return unet;
}

absl::Status AddLora(const v1::TaskPayload& payload, const fs::path& checkpoint, Denoiser& denoiser) {
  const v1::LoraSpec& spec = payload.spec().train().lora();
  if (checkpoint.empty()) {
    LoraOptions options;
    options.rank = spec.rank();
    options.alpha = spec.alpha();
    if (spec.targets_size() > 0) options.targets.assign(spec.targets().begin(), spec.targets().end());
    options.seed = payload.train().seed();
    RSIDIFF_ASSIGN_OR_RETURN(denoiser.lora, InitialLora(*denoiser.unet, options));
  } else {
    RSIDIFF_ASSIGN_OR_RETURN(denoiser.lora, ReadLora(checkpoint));
  }
  RSIDIFF_RETURN_IF_ERROR(AttachLora(*denoiser.unet, denoiser.lora));
  denoiser.trainable.parameters = AttachedLora(*denoiser.unet);
  for (const auto& [path, pair] : denoiser.lora) {
    denoiser.trainable.masters.emplace_back(path + ".lora_A.weight", pair.down);
    denoiser.trainable.masters.emplace_back(path + ".lora_B.weight", pair.up);
  }
  return absl::OkStatus();
}

absl::StatusOr<Denoiser> LoadDenoiser(const v1::TaskPayload& payload, const fs::path& model,
                                      PhaseContext& context) {
  const ComputeOptions compute{context.device, DtypeOf(payload.spec().train().precision())};
  const bool lora = TrainsLora(payload.spec());
  fs::path checkpoint;
  if (!payload.checkpoint().empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(checkpoint, context.store.LocalPath(payload.checkpoint()));
  }
  Denoiser denoiser;
  RSIDIFF_ASSIGN_OR_RETURN(denoiser.unet, LoadUnet(model / "unet", lora ? fs::path() : checkpoint, compute));
  UNet2DConditionModel* unet = denoiser.unet.get();
  denoiser.trainable.forward = [unet](const at::Tensor& noisy, const at::Tensor& timesteps,
                                      const at::Tensor& captions) {
    return unet->Forward(noisy, timesteps, captions);
  };
  if (lora) {
    RSIDIFF_RETURN_IF_ERROR(AddLora(payload, checkpoint, denoiser));
    return denoiser;
  }
  denoiser.trainable.parameters = unet->parameters().tensors();
  if (compute.dtype != at::kFloat) {
    // Half precision computes with copies of fp32 master weights.
    RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<UNet2DConditionModel> exact,
                             LoadUnet(model / "unet", checkpoint, {at::kCPU, at::kFloat}));
    denoiser.trainable.masters = exact->parameters().tensors();
  }
  return denoiser;
}

/// A file in the scratch folder, gone with this object.
class ScratchFile {
 public:
  explicit ScratchFile(const fs::path& folder) : path_(folder / (RandomId() + ".safetensors")) {}
  ~ScratchFile() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  const fs::path& path() const { return path_; }

 private:
  const fs::path path_;
};

/// Mean loss over the first and the last tenth of the steps, of those that were seen here.
class LossSummary {
 public:
  explicit LossSummary(uint64_t steps) : steps_(steps), window_(std::max<uint64_t>(1, steps / 10)) {}

  void Add(uint64_t step, double loss) {
    if (first_count_ == 0 || step <= window_) {
      first_sum_ += loss;
      ++first_count_;
    }
    if (step > steps_ - window_) {
      last_sum_ += loss;
      ++last_count_;
    }
  }
  double first() const { return first_count_ == 0 ? 0.0 : first_sum_ / first_count_; }
  double last() const { return last_count_ == 0 ? 0.0 : last_sum_ / last_count_; }

 private:
  const uint64_t steps_;
  const uint64_t window_;
  double first_sum_ = 0.0;
  double last_sum_ = 0.0;
  int first_count_ = 0;
  int last_count_ = 0;
};

/// One worker's training of one round, over as many generations as it takes.
class TrainingTask {
 public:
  TrainingTask(const v1::Grant& grant, PhaseContext& context, TaskControl& control)
      : grant_(grant), context_(context), control_(control), losses_(Spec().steps()) {}

  absl::StatusOr<v1::TrainResult> Run();

 private:
  const v1::TrainSpec& Spec() const { return grant_.payload().spec().train(); }
  absl::Status Prepare();
  absl::StatusOr<Membership> Join();
  absl::Status CatchUp(const v1::GenerationRecord& generation);
  TrainerCallbacks Callbacks();
  absl::Status Checkpoint(uint64_t step);
  absl::StatusOr<std::string> StoreProduct();

  const v1::Grant& grant_;
  PhaseContext& context_;
  TaskControl& control_;
  Denoiser denoiser_;
  std::unique_ptr<StoreServer> store_server_;
  std::unique_ptr<Trainer> trainer_;
  LossSummary losses_;
  uint64_t generation_ = 0;
  bool left_behind_ = false;  // the coordinator knows a newer generation
};

absl::Status TrainingTask::Prepare() {
  const v1::TaskPayload& payload = grant_.payload();
  RSIDIFF_ASSIGN_OR_RETURN(std::string text, context_.store.Get(payload.train().manifest()));
  RSIDIFF_ASSIGN_OR_RETURN(std::vector<TrainingExample> examples,
                           ParseTrainingManifest(text, payload.train().manifest()));
  RSIDIFF_ASSIGN_OR_RETURN(StableDiffusionPipeline * pipeline, context_.models.Pipeline(payload));
  RSIDIFF_ASSIGN_OR_RETURN(TrainingSet set, LoadTrainingSet(examples, Spec().latents(), *pipeline, context_));
  const NoiseSchedule schedule = pipeline->noise_schedule();
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<PlannedBatches> batches,
                           PlannedBatches::Create(std::move(set), PlanOf(payload, schedule)));
  RSIDIFF_ASSIGN_OR_RETURN(denoiser_, LoadDenoiser(payload, pipeline->folder(), context_));
  RSIDIFF_ASSIGN_OR_RETURN(trainer_, Trainer::Create(OptionsOf(Spec()), std::move(denoiser_.trainable),
                                                     schedule, std::move(batches)));
  RSIDIFF_ASSIGN_OR_RETURN(store_server_, StoreServer::Start());
  return absl::OkStatus();
}

absl::StatusOr<Membership> TrainingTask::Join() {
  TrainingPosition position;
  position.store_address = absl::StrCat(context_.host, ":", store_server_->port());
  position.step = trainer_->step();
  position.has_state = trainer_->has_state();
  position.last_generation = generation_;
  RSIDIFF_ASSIGN_OR_RETURN(v1::JoinTrainingResponse joined, control_.JoinTraining(position));
  const v1::GenerationRecord& generation = joined.generation();
  RSIDIFF_RETURN_IF_ERROR(CatchUp(generation));
  generation_ = generation.generation();
  left_behind_ = false;

  Membership membership;
  membership.generation = generation_;
  ProcessGroupOptions& group = membership.group;
  group.rank = static_cast<int>(joined.rank());
  group.world = generation.members_size();
  group.prefix = absl::StrCat(generation.run_id(), "/", generation.round(), "/", generation_);
  group.host = context_.host;
  // Long enough for the others to wait while rank 0 stores a checkpoint of several times the model's size.
  constexpr double kStoredBytesPerSecond = 50e6;
  double state_bytes = 0;
  for (const at::Tensor& bucket : trainer_->state().Buckets())
    state_bytes += static_cast<double>(bucket.nbytes());
  group.timeout = absl::Seconds(30) + absl::Seconds(state_bytes / kStoredBytesPerSecond);
  if (group.world > 1) {
    const std::string& address = generation.members(0).store_address();
    size_t colon = address.rfind(':');
    if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &group.store_port)) {
      return absl::InvalidArgumentError(absl::StrCat("training member ", generation.members(0).worker(),
                                                     " offers a store without HOST:PORT: ", address));
    }
    group.store_host = address.substr(0, colon);
  }
  return membership;
}

// When the members that were furthest are all gone, the last committed checkpoint is ahead of everybody.
absl::Status TrainingTask::CatchUp(const v1::GenerationRecord& generation) {
  uint64_t furthest = 0;
  bool anybody = false;
  for (const v1::GenerationRecord::Member& member : generation.members()) {
    if (!member.has_state()) continue;
    furthest = std::max(furthest, member.step());
    anybody = true;
  }
  if (generation.checkpoint().empty() || (anybody && furthest >= generation.checkpoint_step()))
    return absl::OkStatus();
  RSIDIFF_ASSIGN_OR_RETURN(fs::path path, context_.store.LocalPath(generation.checkpoint()));
  return Annotate(trainer_->Restore(path), absl::StrCat("checkpoint of step ", generation.checkpoint_step()));
}

TrainerCallbacks TrainingTask::Callbacks() {
  TrainerCallbacks callbacks;
  callbacks.on_step = [this](const StepReport& report) {
    losses_.Add(report.step, report.loss);
    control_.ReportStep(report.generation, report.step, report.loss);
    control_.ReportProgress(static_cast<double>(report.step) / std::max(1u, Spec().steps()));
  };
  callbacks.should_regroup = [this] { return left_behind_ || control_.regroup_requested(); };
  callbacks.cancelled = [this] { return control_.cancelled(); };
  callbacks.on_checkpoint = [this](uint64_t step) { return Checkpoint(step); };
  return callbacks;
}

absl::Status TrainingTask::Checkpoint(uint64_t step) {
  ScratchFile file(context_.scratch);
  RSIDIFF_RETURN_IF_ERROR(trainer_->WriteCheckpoint(file.path()));
  RSIDIFF_ASSIGN_OR_RETURN(std::string digest, context_.store.PutFile(file.path()));
  absl::Status committed = control_.CommitCheckpoint(generation_, step, digest);
  if (absl::IsAborted(committed)) {
    left_behind_ = true;
    return absl::OkStatus();
  }
  // Training needs no coordinator; the next checkpoint makes up for this one.
  if (absl::IsUnavailable(committed) || absl::IsDeadlineExceeded(committed)) {
    control_.Warn(absl::StrCat("checkpoint of step ", step, " was not committed: ", committed.message()));
    return absl::OkStatus();
  }
  return committed;
}

absl::StatusOr<std::string> TrainingTask::StoreProduct() {
  ScratchFile file(context_.scratch);
  const NamedTensors product = trainer_->Product();
  if (denoiser_.lora.empty()) {
    RSIDIFF_RETURN_IF_ERROR(WriteSafetensors(file.path(), product, {{"format", "pt"}}));
  } else {
    LoraFile lora = ExportLora(WithValues(denoiser_.lora, product));
    RSIDIFF_RETURN_IF_ERROR(WriteSafetensors(file.path(), lora.tensors, lora.metadata));
  }
  return context_.store.PutFile(file.path());
}

absl::StatusOr<v1::TrainResult> TrainingTask::Run() {
  RSIDIFF_RETURN_IF_ERROR(Prepare());
  const TrainerCallbacks callbacks = Callbacks();
  while (true) {
    if (control_.cancelled()) return absl::CancelledError("the training was given up");
    RSIDIFF_ASSIGN_OR_RETURN(Membership membership, Join());
    RSIDIFF_ASSIGN_OR_RETURN(RunOutcome outcome, trainer_->Run(membership, callbacks));
    if (outcome.end == RunEnd::kFinished) break;
    if (outcome.end == RunEnd::kCancelled) return absl::CancelledError("the training was given up");
    if (outcome.end == RunEnd::kPeerFailed) {
      control_.Warn(absl::StrCat("training generation ", generation_, " broke after step ", outcome.step,
                                 ": ", outcome.reason));
    }
  }
  v1::TrainResult result;
  RSIDIFF_ASSIGN_OR_RETURN(*result.mutable_checkpoint(), StoreProduct());
  result.set_steps(static_cast<uint32_t>(trainer_->step()));
  result.set_first_loss(losses_.first());
  result.set_last_loss(losses_.last());
  return result;
}

}  // namespace

absl::StatusOr<v1::TrainResult> Train(const v1::Grant& grant, PhaseContext& context, TaskControl& control) {
  return TrainingTask(grant, context, control).Run();
}

}  // namespace rsidiff::worker
