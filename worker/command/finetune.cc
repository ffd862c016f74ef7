#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/image/png.h"
#include "nlohmann/json.hpp"
#include "worker/command/command.h"
#include "worker/model/unet_2d_condition_model.h"
#include "worker/sampler/pipeline.h"
#include "worker/tensor/device.h"
#include "worker/tensor/safetensors.h"
#include "worker/train/lora.h"
#include "worker/train/manifest.h"
#include "worker/train/trainable_unet.h"
#include "worker/train/trainer.h"
#include "worker/train/training_set_builder.h"

namespace rsidiff::worker {
namespace {

namespace fs = std::filesystem;

constexpr char kStateFile[] = "training_state.safetensors";
constexpr char kLogFile[] = "losses.jsonl";
constexpr char kLoraFile[] = "pytorch_lora_weights.safetensors";

struct FinetuneArguments {
  std::string model, manifest, out;
  TrainerOptions trainer;
  BatchPlanOptions plan;
  std::string schedule = "constant";
  int64_t lora_rank = 0;  // 0: the whole UNet
  double lora_alpha = 0.0;
  std::string lora_targets = "to_q,to_k,to_v,to_out.0";
  std::string device = "auto";
  std::string precision = "fp32";
  int threads = 1;
  bool resume = false;
  bool json = false;
};

/// Latents [1, C, h, w] of what manifest lines name, one at a time.
class EntryLatents {
 public:
  EntryLatents(StableDiffusionPipeline& pipeline, fs::path folder)
      : pipeline_(pipeline), folder_(std::move(folder)) {}

  absl::StatusOr<at::Tensor> Read(const ManifestEntry& entry) {
    return entry.latent.empty() ? Encode(folder_ / entry.file) : Stored(folder_ / entry.latent, entry.row);
  }

 private:
  absl::StatusOr<at::Tensor> Stored(const fs::path& path, int64_t row) {
    // One file at a time: a file's rows mostly follow each other, and Linux maps some 65,000 files a process.
    if (path != open_) {
      RSIDIFF_ASSIGN_OR_RETURN(const std::shared_ptr<SafetensorsFile> file, SafetensorsFile::Open(path));
      RSIDIFF_ASSIGN_OR_RETURN(latents_, file->Get("latents"));
      open_ = path;
    }
    absl::StatusOr<at::Tensor> latents = LatentRow(latents_, row);
    if (!latents.ok()) return Annotate(latents.status(), path.string());
    return latents;
  }

  absl::StatusOr<at::Tensor> Encode(const fs::path& path) {
    RSIDIFF_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
    const absl::StatusOr<Image> image = DecodePng(bytes);
    if (!image.ok()) return Annotate(image.status(), path.string());
    absl::StatusOr<at::Tensor> latents = EncodePicture(pipeline_.vae(), *image);
    if (!latents.ok()) return Annotate(latents.status(), path.string());
    return latents;
  }

  StableDiffusionPipeline& pipeline_;
  const fs::path folder_;
  fs::path open_;  // what `latents_` are mapped from
  at::Tensor latents_;
};

absl::StatusOr<TrainingSet> LoadTrainingSet(const fs::path& manifest, StableDiffusionPipeline& pipeline) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::string text, ReadFile(manifest));
  RSIDIFF_ASSIGN_OR_RETURN(const std::vector<ManifestEntry> entries, ParseManifest(text, manifest.string()));
  EntryLatents latents(pipeline, manifest.parent_path());
  TrainingSetBuilder builder(entries.size());
  for (const ManifestEntry& entry : entries) {
    const std::string place = absl::StrCat(manifest.string(), ":", entry.line);
    const absl::StatusOr<at::Tensor> row = latents.Read(entry);
    if (!row.ok()) return Annotate(row.status(), place);
    RSIDIFF_RETURN_IF_ERROR(builder.Add({place, entry.prompt, entry.weight, entry.replay}, *row));
  }
  return builder.Finish(pipeline);
}

absl::StatusOr<LoraWeights> NewLora(const FinetuneArguments& arguments, UNet2DConditionModel& unet) {
  LoraOptions options;
  options.rank = arguments.lora_rank;
  options.alpha = arguments.lora_alpha;
  options.targets = absl::StrSplit(arguments.lora_targets, ',');
  options.seed = arguments.plan.seed;
  return InitialLora(unet, options);
}

absl::StatusOr<TrainableModel> MakeTrainable(const LoraWeights& lora, StableDiffusionPipeline& pipeline) {
  if (!lora.empty()) return TrainableLora(pipeline.unet(), lora);
  return TrainableUnet(pipeline.unet(), {pipeline.folder() / "unet", ""});
}

// What this command writes beside the model. A model that it made has them too, and they tell of another
// training.
bool OfATraining(const fs::path& relative) {
  return relative == kStateFile || relative == kLogFile;
}

// Replaces what is in `to` already.
absl::Status CopyAllButUnet(const fs::path& from, const fs::path& to) {
  std::error_code error;
  for (fs::recursive_directory_iterator it(from, error), end; it != end; it.increment(error)) {
    const fs::path relative = it->path().lexically_relative(from);
    if (*relative.begin() == "unet" || OfATraining(relative) || it->is_directory(error)) continue;
    const fs::path copy = to / relative;
    const fs::path temporary = to / absl::StrCat(".copy-", RandomId());
    RSIDIFF_RETURN_IF_ERROR(CreateFolders(copy.parent_path()));
    absl::Status copied = CopyFile(it->path(), temporary);
    if (copied.ok()) copied = CommitFile(temporary, copy);
    if (!copied.ok()) {
      fs::remove(temporary, error);
      return copied;
    }
  }
  if (error) return ErrnoStatus(error.value(), absl::StrCat("cannot list ", from.string()));
  return absl::OkStatus();
}

absl::Status SaveProduct(const FinetuneArguments& arguments, const Trainer& trainer,
                         const LoraWeights& lora) {
  const fs::path out = arguments.out;
  if (!lora.empty()) return WriteProduct(out / kLoraFile, trainer.Product(), lora);
  RSIDIFF_RETURN_IF_ERROR(CopyAllButUnet(arguments.model, out));
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(out / "unet"));
  RSIDIFF_ASSIGN_OR_RETURN(const std::string config,
                           ReadFile(fs::path(arguments.model) / "unet" / "config.json"));
  RSIDIFF_RETURN_IF_ERROR(WriteFileAtomically(out / "unet" / "config.json", config));
  return WriteProduct(out / "unet" / "diffusion_pytorch_model.safetensors", trainer.Product(), lora);
}

/// losses.jsonl: a line a step, without steps that a resumed training repeats.
class LossLog {
 public:
  LossLog(const fs::path& path, uint64_t resumed_step) : path_(path) {
    const absl::StatusOr<std::string> old = ReadFile(path);
    if (!old.ok() || resumed_step == 0) return;
    const std::vector<std::string> lines = absl::StrSplit(*old, '\n', absl::SkipEmpty());
    for (size_t i = 0; i < lines.size() && i < resumed_step; ++i) absl::StrAppend(&kept_, lines[i], "\n");
  }

  absl::Status Open() {
    RSIDIFF_RETURN_IF_ERROR(WriteFileAtomically(path_, kept_));
    file_.reset(std::fopen(path_.c_str(), "a"));
    return file_ != nullptr ? absl::OkStatus() : CannotWrite();
  }

  /// After an error the log takes no more lines: whoever reads it could not tell which are missing.
  void Add(const StepReport& report) {
    if (!status_.ok()) return;
    const std::string line = nlohmann::json{{"step", report.step},
                                            {"loss", report.loss},
                                            {"grad_norm", report.grad_norm},
                                            {"learning_rate", report.learning_rate}}
                                 .dump() +
                             "\n";
    const bool written = std::fputs(line.c_str(), file_.get()) >= 0 && std::fflush(file_.get()) == 0;
    if (!written) status_ = CannotWrite();
  }

  /// Of all lines so far; an error names the file and the reason.
  const absl::Status& status() const { return status_; }

 private:
  absl::Status CannotWrite() const {
    return ErrnoStatus(errno, absl::StrCat("cannot write ", path_.string()));
  }

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  fs::path path_;
  std::string kept_;
  std::unique_ptr<std::FILE, Close> file_;
  absl::Status status_;
};

absl::Status CheckOut(const FinetuneArguments& arguments) {
  std::error_code error;
  const fs::path within = fs::relative(arguments.out, arguments.model, error);
  if (!error && !within.empty() && *within.begin() != "..") {
    return absl::InvalidArgumentError("--out is the model's own folder, or in it");
  }
  RSIDIFF_RETURN_IF_ERROR(CreateFolders(arguments.out));
  const fs::path state = fs::path(arguments.out) / kStateFile;
  const bool exists = fs::exists(state);
  if (exists && !arguments.resume) {
    return absl::AlreadyExistsError(
        absl::StrCat(state.string(), " is there already: go on with --resume or choose another --out"));
  }
  if (!exists && arguments.resume)
    return absl::NotFoundError(absl::StrCat("nothing to resume: no ", state.string()));
  return absl::OkStatus();
}

/// What --json tells of a training.
struct TrainingSummary {
  uint64_t steps = 0;          // those before a --resume included
  std::optional<double> loss;  // of the last step; none where a resumed training had no step left
  double seconds = 0.0;
};

/// Runs the steps that are left and writes log and state.
absl::StatusOr<TrainingSummary> RunTraining(const FinetuneArguments& arguments, Trainer& trainer) {
  const fs::path state_file = fs::path(arguments.out) / kStateFile;
  LossLog log(fs::path(arguments.out) / kLogFile, trainer.step());
  RSIDIFF_RETURN_IF_ERROR(log.Open());
  TrainingSummary summary;
  TrainerCallbacks callbacks;
  // No checkpoint of a step that the log lacks: what is resumed has both.
  callbacks.on_checkpoint = [&](uint64_t) {
    return log.status().ok() ? trainer.WriteCheckpoint(state_file) : log.status();
  };
  callbacks.cancelled = [&] { return !log.status().ok(); };
  callbacks.on_step = [&](const StepReport& report) {
    log.Add(report);
    summary.loss = report.loss;
    absl::FPrintF(stderr, "step %d/%d  loss %.5f  gradient norm %.4f\n", report.step,
                  arguments.trainer.learning_rate.total_steps, report.loss, report.grad_norm);
  };
  const absl::Time start = absl::Now();
  RSIDIFF_RETURN_IF_ERROR(trainer.Run(Membership{}, callbacks).status());
  RSIDIFF_RETURN_IF_ERROR(log.status());
  RSIDIFF_RETURN_IF_ERROR(trainer.WriteCheckpoint(state_file));
  summary.steps = trainer.step();
  summary.seconds = absl::ToDoubleSeconds(absl::Now() - start);
  return summary;
}

void PrintTraining(const FinetuneArguments& arguments, const TrainingSummary& summary) {
  if (!arguments.json) {
    absl::PrintF("%s\n", arguments.out);
    return;
  }
  nlohmann::ordered_json json = {{"out", arguments.out}, {"steps", summary.steps}, {"loss", nullptr}};
  if (summary.loss.has_value()) json["loss"] = *summary.loss;
  json["seconds"] = summary.seconds;
  json["environment"] = EnvironmentDescription();
  absl::PrintF("%s\n", json.dump());
}

absl::Status Finetune(FinetuneArguments arguments) {
  ConfigureProcess(arguments.threads);
  RSIDIFF_RETURN_IF_ERROR(CheckOut(arguments));
  ComputeOptions compute;
  RSIDIFF_ASSIGN_OR_RETURN(compute.device, ParseDevice(arguments.device));
  RSIDIFF_ASSIGN_OR_RETURN(compute.dtype, ParsePrecision(arguments.precision));
  RSIDIFF_ASSIGN_OR_RETURN(const std::unique_ptr<StableDiffusionPipeline> pipeline,
                           StableDiffusionPipeline::Load(arguments.model, compute));
  RSIDIFF_ASSIGN_OR_RETURN(TrainingSet set, LoadTrainingSet(arguments.manifest, *pipeline));
  arguments.plan.num_train_timesteps =
      static_cast<uint32_t>(pipeline->noise_schedule().num_train_timesteps());
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<PlannedBatches> batches,
                           PlannedBatches::Create(std::move(set), arguments.plan));
  LoraWeights lora;
  if (arguments.lora_rank > 0) {
    RSIDIFF_ASSIGN_OR_RETURN(lora, NewLora(arguments, pipeline->unet()));
  }
  RSIDIFF_ASSIGN_OR_RETURN(TrainableModel model, MakeTrainable(lora, *pipeline));
  RSIDIFF_ASSIGN_OR_RETURN(
      const std::unique_ptr<Trainer> trainer,
      Trainer::Create(arguments.trainer, std::move(model), pipeline->noise_schedule(), std::move(batches)));
  if (arguments.resume) {
    RSIDIFF_RETURN_IF_ERROR(trainer->Restore(fs::path(arguments.out) / kStateFile));
  }
  RSIDIFF_ASSIGN_OR_RETURN(const TrainingSummary summary, RunTraining(arguments, *trainer));
  RSIDIFF_RETURN_IF_ERROR(SaveProduct(arguments, *trainer, lora));
  PrintTraining(arguments, summary);
  return absl::OkStatus();
}

void AddTrainingOptions(CLI::App& command, FinetuneArguments& a) {
  command.add_option("--steps", a.trainer.learning_rate.total_steps, "Optimizer steps")
      ->required()
      ->check(CLI::PositiveNumber);
  command.add_option("--batch", a.plan.global_batch, "Samples of one step")->capture_default_str();
  command.add_option("--micro-batch", a.trainer.micro_batch, "Samples of one forward pass")
      ->capture_default_str();
  command.add_option("--lr", a.trainer.learning_rate.peak, "Learning rate")->capture_default_str();
  command.add_option("--warmup", a.trainer.learning_rate.warmup_steps, "Steps of linear warm-up")
      ->capture_default_str();
  command.add_option("--schedule", a.schedule, "Rate after the warm-up")
      ->check(CLI::IsMember({"constant", "cosine"}))
      ->capture_default_str();
  command.add_option("--weight-decay", a.trainer.adamw.weight_decay, "Decoupled weight decay")
      ->capture_default_str();
  command.add_option("--max-grad-norm", a.trainer.max_grad_norm, "Gradient clipping, 0: off")
      ->capture_default_str();
  command.add_option("--ema", a.trainer.ema_decay, "Decay of the moving average, 0: off")
      ->capture_default_str();
  command.add_option("--min-snr-gamma", a.trainer.objective.min_snr_gamma, "min-SNR weighting, 0: off")
      ->capture_default_str();
  command.add_option("--caption-dropout", a.plan.caption_dropout, "Share of captions dropped")
      ->capture_default_str();
  command.add_option("--replay", a.plan.replay, "Share of the batch from lines with \"replay\": true")
      ->capture_default_str();
  command.add_option("--seed", a.plan.seed, "Seed of order, noise, timesteps and dropout")
      ->capture_default_str();
  command.add_option("--lora-rank", a.lora_rank, "Train a LoRA adapter of this rank, 0: the whole UNet")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--lora-alpha", a.lora_alpha, "Default: the rank")->check(CLI::NonNegativeNumber);
  command.add_option("--lora-targets", a.lora_targets, "Name endings of the adapted layers")
      ->capture_default_str();
  command
      .add_option("--checkpoint-every", a.trainer.checkpoint_every,
                  "Steps between checkpoints, 0: at the end only")
      ->capture_default_str();
}

}  // namespace

void AddFinetuneCommand(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("finetune", "Fine-tune a model on weighted samples");
  auto arguments = std::make_shared<FinetuneArguments>();
  arguments->plan.caption_dropout = 0.1;
  command->add_option("--model", arguments->model, "Folder in diffusers' format")
      ->required()
      ->check(CLI::ExistingDirectory);
  command
      ->add_option("--manifest", arguments->manifest,
                   "JSON lines {prompt, file | latent and row, weight, replay}")
      ->required()
      ->check(CLI::ExistingFile);
  command
      ->add_option("--out", arguments->out,
                   "Folder for the model or adapter, losses.jsonl and the training state")
      ->required();
  AddTrainingOptions(*command, *arguments);
  command->add_option("--device", arguments->device, "auto, cpu, cuda or cuda:INDEX")->capture_default_str();
  command->add_option("--dtype", arguments->precision, "fp32 or bf16 (with fp32 master weights)")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->capture_default_str();
  command->add_option("--threads", arguments->threads, "CPU threads")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_flag("--resume", arguments->resume, "Go on from the training state in --out");
  command->add_flag("--json", arguments->json, "Print a summary as JSON");
  command->footer(
      "Examples:\n"
      "  rsidiff-worker finetune --model base --manifest samples/samples.jsonl --steps 100 --out tuned\n"
      "  rsidiff-worker finetune --model base --manifest m.jsonl --steps 500 --lora-rank 8 --lr 1e-4 --out "
      "adapter");
  command->callback([&invocation, arguments] {
    arguments->trainer.learning_rate.shape =
        arguments->schedule == "cosine" ? LearningRateShape::kCosine : LearningRateShape::kConstant;
    invocation.run = [arguments] { return Finetune(*arguments); };
  });
}

}  // namespace rsidiff::worker
