// Trains a UNet on given noise and timesteps, for finetune_test.py and the benchmark:
//   finetune_steps SPEC.json
// SPEC: {"unet", "scheduler": folders, "draws": safetensors with latents, noise [S,B,C,h,w], timesteps [S,B],
// context [S,B,T,D], weights [S,B], "out": folder, "lora": adapter file or "", and the options below}.
// Trains on RSIDIFF_TEST_DEVICE.
// Prints a JSON line a step; writes state.safetensors and, for LoRA, lora.safetensors, and
// prediction.safetensors: the trained UNet's answer to the first step's noisy latents.
#include <chrono>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "tests/parity/compute_device.h"
#include "worker/model/unet_2d_condition_model.h"
#include "worker/sampler/noise_schedule.h"
#include "worker/tensor/device.h"
#include "worker/train/lora.h"
#include "worker/train/trainer.h"

namespace rsidiff::worker {
namespace {

class GivenBatches : public BatchSource {
 public:
  explicit GivenBatches(const SafetensorsFile& file)
      : latents_(*file.Get("latents")),
        noise_(*file.Get("noise")),
        timesteps_(*file.Get("timesteps")),
        context_(*file.Get("context")),
        weights_(*file.Get("weights")) {}

  uint32_t global_batch() const override { return static_cast<uint32_t>(latents_.size(1)); }
  TrainingBatch Get(uint64_t step, uint32_t begin, uint32_t end) override {
    const auto slice = [&](const at::Tensor& all) {
      return all[static_cast<int64_t>(step) % all.size(0)].narrow(0, begin, end - begin);
    };
    return {slice(latents_), slice(noise_), slice(timesteps_), slice(context_), slice(weights_)};
  }
  std::string Describe(uint64_t step, uint32_t position) override { return "given"; }

 private:
  at::Tensor latents_, noise_, timesteps_, context_, weights_;
};

TrainerOptions Options(const nlohmann::json& spec) {
  TrainerOptions options;
  options.learning_rate.peak = spec.value("lr", 1e-3);
  options.learning_rate.warmup_steps = spec.value("warmup", 0);
  options.learning_rate.total_steps = spec.at("steps").get<uint64_t>();
  if (spec.value("schedule", "constant") == "cosine")
    options.learning_rate.shape = LearningRateShape::kCosine;
  options.adamw.weight_decay = spec.value("weight_decay", 0.01);
  options.max_grad_norm = spec.value("max_grad_norm", 1.0);
  options.ema_decay = spec.value("ema", 0.0);
  options.objective.min_snr_gamma = spec.value("min_snr_gamma", 0.0);
  options.micro_batch = spec.value("micro_batch", 1024);
  return options;
}

absl::Status WritePrediction(const std::filesystem::path& path, UNet2DConditionModel& unet,
                             const NoiseSchedule& schedule, const TrainingBatch& batch) {
  c10::NoGradGuard no_grad;
  const NoisedBatch noised = AddTrainingNoise(schedule, batch.latents, batch.noise, batch.timesteps);
  const at::Tensor prediction = unet.Forward(noised.noisy, batch.timesteps, batch.context);
  return WriteSafetensors(path, {{"noisy", noised.noisy}, {"prediction", prediction}}, {{"format", "pt"}});
}

absl::Status Run(const nlohmann::json& spec) {
  ConfigureProcess(spec.value("threads", 1));
  ComputeOptions compute;
  RSIDIFF_ASSIGN_OR_RETURN(compute.device, TestDevice());
  RSIDIFF_ASSIGN_OR_RETURN(compute.dtype, ParsePrecision(spec.value("dtype", "fp32")));
  RSIDIFF_ASSIGN_OR_RETURN(const auto unet,
                           UNet2DConditionModel::Load(spec.at("unet").get<std::string>(), compute));
  RSIDIFF_ASSIGN_OR_RETURN(const SchedulerConfig config,
                           LoadSchedulerConfig(spec.at("scheduler").get<std::string>()));
  RSIDIFF_ASSIGN_OR_RETURN(const NoiseSchedule schedule, NoiseSchedule::Create(config));
  RSIDIFF_ASSIGN_OR_RETURN(const auto draws, SafetensorsFile::Open(spec.at("draws").get<std::string>()));
  const std::filesystem::path out = spec.at("out").get<std::string>();

  TrainableModel model;
  model.forward = [&unet = *unet](const at::Tensor& noisy, const at::Tensor& timesteps,
                                  const at::Tensor& context) {
    return unet.Forward(noisy, timesteps, context);
  };
  model.parameters = unet->parameters().tensors();
  LoraWeights lora;
  if (const std::string file = spec.value("lora", ""); !file.empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(lora, ReadLora(file));
    RSIDIFF_RETURN_IF_ERROR(AttachLora(*unet, lora));
    model.parameters = AttachedLora(*unet);
  }
  RSIDIFF_ASSIGN_OR_RETURN(const auto trainer, Trainer::Create(Options(spec), std::move(model), schedule,
                                                               std::make_unique<GivenBatches>(*draws)));
  TrainerCallbacks callbacks;
  auto last = std::chrono::steady_clock::now();
  auto last_cpu = std::clock();
  callbacks.on_step = [&](const StepReport& report) {
    const auto now = std::chrono::steady_clock::now();
    const auto now_cpu = std::clock();
    std::cout << nlohmann::json{{"loss", report.loss},
                                {"grad_norm", report.grad_norm},
                                {"learning_rate", report.learning_rate},
                                {"seconds", std::chrono::duration<double>(now - last).count()},
                                {"cpu_seconds", static_cast<double>(now_cpu - last_cpu) / CLOCKS_PER_SEC}}
                     .dump()
              << std::endl;
    last = now;
    last_cpu = now_cpu;
  };
  RSIDIFF_RETURN_IF_ERROR(trainer->Run(Membership{}, callbacks).status());
  if (spec.value("time_only", false)) {
    std::cerr << EnvironmentDescription() << std::endl;
    return absl::OkStatus();
  }
  RSIDIFF_RETURN_IF_ERROR(trainer->WriteCheckpoint(out / "state.safetensors"));
  const TrainingBatch probe =
      GivenBatches(*draws).Get(0, 0, static_cast<uint32_t>((*draws->Get("weights")).size(1)));
  if (!lora.empty()) {
    const LoraWeights trained = WithValues(lora, trainer->Product());
    const LoraFile file = ExportLora(trained);
    RSIDIFF_RETURN_IF_ERROR(WriteSafetensors(out / "lora.safetensors", file.tensors, file.metadata));
    RSIDIFF_RETURN_IF_ERROR(WritePrediction(out / "attached.safetensors", *unet, schedule, probe));
    // What a sampler would do with the file: merged into the weights, and taken out again.
    for (const auto& [path, linear] : unet->linears()) linear->lora_down = linear->lora_up = at::Tensor();
    RSIDIFF_RETURN_IF_ERROR(WritePrediction(out / "detached.safetensors", *unet, schedule, probe));
    RSIDIFF_ASSIGN_OR_RETURN(const LoraWeights reread, ReadLora(out / "lora.safetensors"));
    RSIDIFF_ASSIGN_OR_RETURN(const NamedTensors originals, MergeLora(*unet, reread));
    RSIDIFF_RETURN_IF_ERROR(WritePrediction(out / "prediction.safetensors", *unet, schedule, probe));
    RSIDIFF_RETURN_IF_ERROR(unet->parameters().Assign(originals, Parameters::Coverage::kSome));
    return WritePrediction(out / "unmerged.safetensors", *unet, schedule, probe);
  }
  return WritePrediction(out / "prediction.safetensors", *unet, schedule, probe);
}

}  // namespace
}  // namespace rsidiff::worker

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const absl::StatusOr<std::string> text = rsidiff::ReadFile(argv[1]);
  if (!text.ok()) return 2;
  const absl::Status status = rsidiff::worker::Run(nlohmann::json::parse(*text));
  if (status.ok()) return 0;
  std::cerr << status << std::endl;
  return 1;
}
