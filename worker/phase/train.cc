#include "worker/phase/train.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/base/address.h"
#include "common/base/digest.h"
#include "common/base/fault_point.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "worker/phase/denoiser.h"
#include "worker/phase/fruitless_generations.h"
#include "worker/phase/scratch_folder.h"
#include "worker/phase/training_set.h"
#include "worker/train/checkpoint.h"
#include "worker/train/checkpoint_writer.h"
#include "worker/train/peer_probe.h"
#include "worker/train/trainable_unet.h"
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

/// OK if the file's bytes have the digest that is its name. DATA_LOSS, or what reading it ran into.
absl::Status VerifyArtifact(const fs::path& path, const std::string& digest) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::string actual, FileSha256Hex(path));
  if (actual == digest) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("artifact file ", path.string(), " has digest ", actual));
}

/// Damaged, gone, or no training state of this model: another checkpoint may do. Not so for an artifact store
/// that is away.
bool IsUnusable(const absl::Status& status) {
  return absl::IsDataLoss(status) || absl::IsNotFound(status) || absl::IsInvalidArgument(status);
}

/// One worker's training of one round, over as many generations as it takes.
class TrainingTask {
 public:
  TrainingTask(const v1::Grant& grant, PhaseContext& context, TaskControl& control)
      : grant_(grant),
        context_(context),
        control_(control),
        losses_(Spec().steps()),
        writer_([this](const TrainingState& state) { return Store(state); },
                [this](uint64_t step, const absl::Status& status) { ReportCheckpoint(step, status); }) {}

  absl::StatusOr<v1::TrainResult> Run();

 private:
  const v1::TrainSpec& Spec() const { return grant_.payload().spec().train(); }
  absl::Status Prepare();
  TrainingPosition Position() const;
  std::vector<uint64_t> GoneMembers() const;
  std::string OthersAnswers() const;
  absl::Duration OperationTimeout() const;
  absl::Status LimitFruitless(uint64_t steps, size_t gone, const std::string& reason);
  void Pause(absl::Duration duration) const;
  absl::StatusOr<Membership> Join(TrainingPosition position);
  absl::Status CatchUp(const v1::GenerationRecord& generation);
  absl::StatusOr<Membership> MembershipOf(const v1::JoinTrainingResponse& joined) const;
  TrainerCallbacks Callbacks();
  absl::Status Store(const TrainingState& state);
  void ReportCheckpoint(uint64_t step, const absl::Status& status);
  absl::StatusOr<std::string> StoreProduct();

  const v1::Grant& grant_;
  PhaseContext& context_;
  TaskControl& control_;
  Denoiser denoiser_;
  std::unique_ptr<StoreServer> store_server_;
  std::unique_ptr<Trainer> trainer_;
  LossSummary losses_;
  v1::GenerationRecord current_;                 // the last one joined
  std::atomic<uint64_t> generation_{0};          // its number; the writer's thread reads it
  std::vector<std::string> refused_;             // digests of checkpoints that could not be used
  RegroupCause cause_ = RegroupCause::kPlanned;  // of the change under way, however many it takes
  uint64_t steps_done_ = 0;                      // here, in all generations
  FruitlessGenerations fruitless_;
  absl::Time last_step_ = absl::InfinitePast();
  CheckpointWriter writer_;  // last: its thread uses the others
};

absl::Status TrainingTask::Prepare() {
  const v1::TaskPayload& payload = grant_.payload();
  std::vector<TrainingExample> examples;
  for (const std::string& digest : payload.train().manifest_parts()) {
    RSIDIFF_ASSIGN_OR_RETURN(std::string text, context_.store.Get(digest));
    RSIDIFF_ASSIGN_OR_RETURN(std::vector<TrainingExample> part, ParseTrainingManifest(text, digest));
    std::move(part.begin(), part.end(), std::back_inserter(examples));
  }
  if (examples.empty()) return absl::InvalidArgumentError("the training manifest is empty");
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

TrainingPosition TrainingTask::Position() const {
  TrainingPosition position;
  position.store_address = HostPort{context_.host, static_cast<uint16_t>(store_server_->port())}.ToString();
  position.step = trainer_->step();
  position.has_state = trainer_->has_state();
  position.last_generation = generation_;
  position.refused_checkpoints = refused_;
  return position;
}

// Called when the group broke. A killed process closes its group connections a moment before its store's
// port.
std::vector<uint64_t> TrainingTask::GoneMembers() const {
  constexpr absl::Duration kPatience = absl::Milliseconds(100);
  const absl::Time deadline = absl::Now() + kPatience;
  std::vector<uint64_t> gone;
  do {
    for (const v1::GenerationRecord::Member& member : current_.members()) {
      if (member.token() == grant_.token() || absl::c_linear_search(gone, member.token())) continue;
      const absl::StatusOr<HostPort> address = ParseHostPort(member.store_address());
      if (address.ok() && ProbePeer(*address, kPatience) == PeerAnswer::kRefuses)
        gone.push_back(member.token());
    }
    if (static_cast<int>(gone.size()) + 1 >= current_.members_size()) break;
    absl::SleepFor(absl::Milliseconds(10));
  } while (absl::Now() < deadline);
  return gone;
}

// What the other members' stores say to this one now: "10.0.0.2:4711 does not answer, ...".
std::string TrainingTask::OthersAnswers() const {
  constexpr absl::Duration kPatience = absl::Seconds(1);
  std::vector<std::string> answers;
  for (const v1::GenerationRecord::Member& member : current_.members()) {
    if (member.token() == grant_.token()) continue;
    const absl::StatusOr<HostPort> address = ParseHostPort(member.store_address());
    const PeerAnswer answer = address.ok() ? ProbePeer(*address, kPatience) : PeerAnswer::kNone;
    answers.push_back(absl::StrCat(member.store_address(), " ", PeerAnswerText(answer)));
  }
  return absl::StrJoin(answers, ", ");
}

absl::Duration TrainingTask::OperationTimeout() const {
  const double seconds = Spec().operation_timeout();
  return seconds > 0 ? absl::Seconds(seconds) : ProcessGroupOptions().timeout;
}

void TrainingTask::Pause(absl::Duration duration) const {
  const absl::Time end = absl::Now() + duration;
  for (absl::Time now = absl::Now(); now < end && !control_.cancelled(); now = absl::Now()) {
    absl::SleepFor(std::min(end - now, absl::Milliseconds(100)));
  }
}

// Members that cannot reach each other would regroup for ever. The pauses grow, so that a network which is
// down for a minute or two does not end the task.
absl::Status TrainingTask::LimitFruitless(uint64_t steps, size_t gone, const std::string& reason) {
  fruitless_.Ended(steps, gone);
  if (fruitless_.too_many()) {
    return absl::FailedPreconditionError(absl::StrCat(
        fruitless_.count(), " training generations in a row broke before a step was done, the last one: ",
        reason, "; seen from ", context_.host, ", ", OthersAnswers(),
        ". Does a firewall stand between the workers, does a worker's --host name an address that the others "
        "cannot reach, or is train.operation_timeout too short?"));
  }
  if (fruitless_.count() > 1) Pause((fruitless_.count() - 1) * OperationTimeout() / 10);
  return absl::OkStatus();
}

absl::StatusOr<Membership> TrainingTask::Join(TrainingPosition position) {
  while (true) {
    RSIDIFF_ASSIGN_OR_RETURN(v1::JoinTrainingResponse joined, control_.JoinTraining(position));
    current_ = joined.generation();
    generation_ = current_.generation();
    const absl::Status caught_up = CatchUp(current_);
    if (caught_up.ok()) return MembershipOf(joined);
    const bool again = absl::c_linear_search(refused_, current_.checkpoint());
    if (!IsUnusable(caught_up) || again) return caught_up;
    control_.Warn(absl::StrCat("the checkpoint of step ", current_.checkpoint_step(),
                               " is refused; the one before it is asked for: ", caught_up.message()));
    refused_.push_back(current_.checkpoint());
    position = Position();
  }
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
  RSIDIFF_RETURN_IF_ERROR(VerifyArtifact(path, generation.checkpoint()));
  return Annotate(trainer_->Restore(path), absl::StrCat("checkpoint of step ", generation.checkpoint_step()));
}

absl::StatusOr<Membership> TrainingTask::MembershipOf(const v1::JoinTrainingResponse& joined) const {
  const v1::GenerationRecord& generation = joined.generation();
  Membership membership;
  membership.generation = generation.generation();
  ProcessGroupOptions& group = membership.group;
  group.rank = static_cast<int>(joined.rank());
  group.world = generation.members_size();
  group.prefix = absl::StrCat(generation.run_id(), "/", generation.round(), "/", generation.generation());
  group.host = context_.host;
  group.timeout = OperationTimeout();
  if (group.world > 1) {
    RSIDIFF_ASSIGN_OR_RETURN(const HostPort address, ParseHostPort(generation.members(0).store_address()));
    group.store_host = address.host;
    group.store_port = address.port;
  }
  return membership;
}

TrainerCallbacks TrainingTask::Callbacks() {
  TrainerCallbacks callbacks;
  callbacks.on_start = [this](uint64_t) {
    if (last_step_ == absl::InfinitePast()) return;
    control_.ReportRegroup(cause_, absl::ToDoubleSeconds(absl::Now() - last_step_));
    cause_ = RegroupCause::kPlanned;
  };
  callbacks.on_step = [this](const StepReport& report) {
    last_step_ = absl::Now();
    ++steps_done_;
    losses_.Add(report.step, report.loss);
    control_.ReportStep(report.generation, report.step, report.loss);
    control_.ReportProgress(static_cast<double>(report.step) / std::max(1u, Spec().steps()));
  };
  callbacks.should_regroup = [this] { return control_.regroup_requested(); };
  callbacks.cancelled = [this] { return control_.cancelled(); };
  callbacks.on_checkpoint = [this](uint64_t step) {
    const absl::Status started = writer_.Start(trainer_->state());
    if (!started.ok()) control_.Warn(absl::StrCat("no checkpoint of step ", step, ": ", started.message()));
    return absl::OkStatus();
  };
  return callbacks;
}

// On the writer's thread. The generation may change meanwhile; the state stays one of this training.
absl::Status TrainingTask::Store(const TrainingState& state) {
  ScratchFile file(context_.scratch);
  RSIDIFF_RETURN_IF_ERROR(WriteTrainingState(file.path(), state));
  RSIDIFF_ASSIGN_OR_RETURN(std::string digest, context_.store.PutFile(file.path()));
  FaultPoint("train.commit");
  while (true) {
    const uint64_t generation = generation_;
    const absl::Status committed = control_.CommitCheckpoint(generation, state.step, digest);
    if (!absl::IsAborted(committed) || generation == generation_) return committed;
  }
}

// Training needs no checkpoint to go on; the next one makes up for this.
void TrainingTask::ReportCheckpoint(uint64_t step, const absl::Status& status) {
  if (status.ok() || control_.cancelled()) return;
  control_.Warn(absl::StrCat("checkpoint of step ", step, " was not committed: ", status.message()));
}

absl::StatusOr<std::string> TrainingTask::StoreProduct() {
  ScratchFile file(context_.scratch);
  bool written = false;
  const auto store = [&]() -> absl::StatusOr<std::string> {
    if (!written) RSIDIFF_RETURN_IF_ERROR(WriteProduct(file.path(), trainer_->Product(), denoiser_.lora));
    written = true;
    return context_.store.PutFile(file.path());
  };
  // A finished training is worth waiting for, however long the store is away or a disk is full.
  while (true) {
    absl::StatusOr<std::string> digest = store();
    if (!IsObstacle(digest.status()) || control_.cancelled()) return digest;
    control_.Warn(absl::StrCat("the trained weights wait to be stored: ", digest.status().message()));
    Pause(absl::Seconds(1));
  }
}

absl::StatusOr<v1::TrainResult> TrainingTask::Run() {
  RSIDIFF_RETURN_IF_ERROR(Prepare());
  const TrainerCallbacks callbacks = Callbacks();
  std::vector<uint64_t> gone;
  while (true) {
    if (control_.cancelled()) return absl::CancelledError("the training was given up");
    TrainingPosition position = Position();
    position.gone_tokens = std::exchange(gone, {});
    RSIDIFF_ASSIGN_OR_RETURN(Membership membership, Join(std::move(position)));
    const uint64_t done_before = steps_done_;
    RSIDIFF_ASSIGN_OR_RETURN(RunOutcome outcome, trainer_->Run(membership, callbacks));
    if (outcome.end == RunEnd::kFinished) break;
    if (outcome.end == RunEnd::kCancelled) return absl::CancelledError("the training was given up");
    if (outcome.end == RunEnd::kPeerFailed) {
      cause_ = RegroupCause::kFailure;
      control_.Warn(absl::StrCat("training generation ", current_.generation(), " broke after step ",
                                 outcome.step, ": ", outcome.reason));
      gone = GoneMembers();
    }
    RSIDIFF_RETURN_IF_ERROR(LimitFruitless(steps_done_ - done_before, gone.size(), outcome.reason));
  }
  writer_.Finish();
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
