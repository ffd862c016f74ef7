#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/image/png.h"
#include "nlohmann/json.hpp"
#include "worker/command/command.h"
#include "worker/model/autoencoder_kl.h"
#include "worker/model/unet_2d_condition_model.h"
#include "worker/sampler/pipeline.h"
#include "worker/train/lora.h"
#include "worker/train/manifest.h"
#include "worker/train/trainable_unet.h"
#include "worker/train/trainer.h"

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
};

// One picture as the VAE takes it: [1, 3, H, W] in [-1, 1].
absl::StatusOr<at::Tensor> LoadPicture(const fs::path& path, int64_t multiple) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  absl::StatusOr<Image> image = DecodePng(bytes);
  if (!image.ok()) return Annotate(image.status(), path.string());
  if (image->width % multiple != 0 || image->height % multiple != 0) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), ": sides are not multiples of ", multiple,
                                                   ": ", image->width, " x ", image->height));
  }
  const at::Tensor pixels = at::from_blob(image->rgb.data(), {1, image->height, image->width, 3}, at::kByte);
  return pixels.permute({0, 3, 1, 2}).to(at::kFloat).div(127.5).sub(1.0);
}

/// Reads what manifest lines name; each latents file is opened once.
class LatentReader {
 public:
  LatentReader(StableDiffusionPipeline& pipeline, fs::path folder)
      : pipeline_(pipeline), folder_(std::move(folder)) {}

  // [1, C, h, w] fp32 on the CPU.
  absl::StatusOr<at::Tensor> Read(const ManifestEntry& entry) {
    if (entry.latent.empty()) return Encode(folder_ / entry.file);
    const fs::path path = folder_ / entry.latent;
    at::Tensor& latents = files_[path];
    if (!latents.defined()) {
      RSIDIFF_ASSIGN_OR_RETURN(const std::shared_ptr<SafetensorsFile> file, SafetensorsFile::Open(path));
      RSIDIFF_ASSIGN_OR_RETURN(latents, file->Get("latents"));
    }
    if (latents.dim() != 4 || entry.row >= latents.size(0)) {
      return absl::InvalidArgumentError(absl::StrCat(path.string(), ": latents has no row ", entry.row));
    }
    return latents.narrow(0, entry.row, 1).to(at::kFloat);
  }

 private:
  // The posterior's mode, so that an epoch sees the same latents again.
  absl::StatusOr<at::Tensor> Encode(const fs::path& path) {
    AutoencoderKL& vae = pipeline_.vae();
    RSIDIFF_ASSIGN_OR_RETURN(const at::Tensor picture, LoadPicture(path, vae.config().downscale_factor()));
    return vae.Scale(vae.Encode(picture).mean).to(at::kFloat).cpu();
  }

  StableDiffusionPipeline& pipeline_;
  fs::path folder_;
  std::map<fs::path, at::Tensor> files_;
};

absl::StatusOr<TrainingSet> LoadTrainingSet(const fs::path& manifest, StableDiffusionPipeline& pipeline) {
  c10::NoGradGuard no_grad;
  RSIDIFF_ASSIGN_OR_RETURN(const std::string text, ReadFile(manifest));
  RSIDIFF_ASSIGN_OR_RETURN(const std::vector<ManifestEntry> entries, ParseManifest(text, manifest.string()));
  LatentReader reader(pipeline, manifest.parent_path());
  TrainingSet set;
  std::vector<at::Tensor> latents;
  std::map<std::string, int64_t> captions = {{"", 0}};
  std::vector<std::string> prompts = {""};
  for (const ManifestEntry& entry : entries) {
    const std::string place = absl::StrCat(manifest.string(), ":", entry.line);
    absl::StatusOr<at::Tensor> latent = reader.Read(entry);
    if (!latent.ok()) return Annotate(latent.status(), place);
    if (!latents.empty() && latent->sizes() != latents.front().sizes()) {
      return absl::InvalidArgumentError(
          absl::StrCat(place, ": latents differ in shape from the first line's"));
    }
    latents.push_back(*std::move(latent));
    const auto [caption, fresh] = captions.emplace(entry.prompt, static_cast<int64_t>(prompts.size()));
    if (fresh) prompts.push_back(entry.prompt);
    set.context_of.push_back(caption->second);
    set.weights.push_back(static_cast<float>(entry.weight));
    set.replay.push_back(entry.replay);
    set.names.push_back(place);
  }
  set.latents = at::cat(latents);
  std::vector<at::Tensor> contexts;
  constexpr size_t kPromptsAtOnce = 16;
  for (size_t i = 0; i < prompts.size(); i += kPromptsAtOnce) {
    const size_t count = std::min(kPromptsAtOnce, prompts.size() - i);
    contexts.push_back(
        pipeline.EncodePrompts(absl::MakeConstSpan(prompts).subspan(i, count)).to(at::kFloat).cpu());
  }
  set.contexts = at::cat(contexts);
  return set;
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
  TrainableModel model = TrainableUnet(pipeline.unet());
  if (pipeline.options().dtype == at::kFloat) return model;
  // Half precision: the master weights start at the file's own values.
  ComputeOptions fp32;
  RSIDIFF_ASSIGN_OR_RETURN(const std::unique_ptr<UNet2DConditionModel> exact,
                           UNet2DConditionModel::Load(pipeline.folder() / "unet", fp32));
  model.masters = exact->parameters().tensors();
  return model;
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
    stream_.open(path_, std::ios::app);
    return stream_ ? absl::OkStatus() : absl::UnavailableError(absl::StrCat("cannot write ", path_.string()));
  }

  void Add(const StepReport& report) {
    stream_ << nlohmann::json{{"step", report.step},
                              {"loss", report.loss},
                              {"grad_norm", report.grad_norm},
                              {"learning_rate", report.learning_rate}}
                   .dump()
            << std::endl;
  }

 private:
  fs::path path_;
  std::string kept_;
  std::ofstream stream_;
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
  const fs::path state_file = fs::path(arguments.out) / kStateFile;
  if (arguments.resume) RSIDIFF_RETURN_IF_ERROR(trainer->Restore(state_file));

  LossLog log(fs::path(arguments.out) / kLogFile, trainer->step());
  RSIDIFF_RETURN_IF_ERROR(log.Open());
  TrainerCallbacks callbacks;
  callbacks.on_checkpoint = [&](uint64_t) { return trainer->WriteCheckpoint(state_file); };
  callbacks.on_step = [&](const StepReport& report) {
    log.Add(report);
    std::fprintf(stderr, "step %llu/%llu  loss %.5f  gradient norm %.4f\n",
                 static_cast<unsigned long long>(report.step),
                 static_cast<unsigned long long>(arguments.trainer.learning_rate.total_steps), report.loss,
                 report.grad_norm);
  };
  RSIDIFF_RETURN_IF_ERROR(trainer->Run(Membership{}, callbacks).status());
  RSIDIFF_RETURN_IF_ERROR(trainer->WriteCheckpoint(state_file));
  RSIDIFF_RETURN_IF_ERROR(SaveProduct(arguments, *trainer, lora));
  std::printf("%s\n", arguments.out.c_str());
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
      ->capture_default_str();
  command.add_option("--lora-alpha", a.lora_alpha, "Default: the rank");
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
