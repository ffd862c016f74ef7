#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/image/image.h"
#include "common/text/clip_tokenizer.h"
#include "worker/sampler/noise_schedule.h"
#include "worker/sampler/scheduler_config.h"
#include "worker/tensor/device.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {

class AutoencoderKL;
class ClipTextModel;
class Scheduler;
class UNet2DConditionModel;

/// How far Generate is; `batch` and `call` count from 1.
struct GenerateProgress {
  int64_t batch = 0, batches = 0;
  int call = 0, calls = 0;  // model calls of this batch
};

struct GenerateRequest {
  std::vector<std::string> prompts;  // one a sample
  std::vector<uint64_t> seeds;       // one a sample
  std::string negative_prompt;
  int steps = 50;
  double guidance_scale = 7.5;             // 1 or less: no guidance, one model call a sample and step
  std::optional<SchedulerType> scheduler;  // none: the model's own
  int width = 0, height = 0;               // pixels; 0: the model's size
  /// Samples computed together. The last batch is filled up to this with copies, so that a sample's bits do
  /// not depend on how many came with it.
  int batch_size = 8;
  /// Unit noise [N, C, h, w] fp32 instead of what the seeds draw; undefined: none.
  at::Tensor init_latents;
  bool decode = true;  // false: latents only
  /// Called after each model call, on the calling thread; false cancels.
  std::function<bool(const GenerateProgress&)> on_progress;
};

struct GenerateOutput {
  at::Tensor latents;           // [N, C, h, w] fp32 on the CPU, as the VAE's scaling_factor has them
  std::vector<Image> images;    // N, or none without `decode`
  std::vector<bool> truncated;  // the prompt had more tokens than the text encoder takes
};

/// A Stable Diffusion 1.x or 2.x model: a diffusers StableDiffusionPipeline folder. One caller at a time.
class StableDiffusionPipeline {
 public:
  /// Loads tokenizer, text_encoder, unet, vae and scheduler of `folder`. The safety checker is not used.
  /// An error names the file.
  static absl::StatusOr<std::unique_ptr<StableDiffusionPipeline>> Load(const std::filesystem::path& folder,
                                                                       const ComputeOptions& options);
  ~StableDiffusionPipeline();

  /// Samples as diffusers draws them with `generator=[torch.Generator().manual_seed(seed), ...]`.
  /// CANCELLED when on_progress says so; INVALID_ARGUMENT for a request that does not fit the model;
  /// INTERNAL for latents that are not finite.
  absl::StatusOr<GenerateOutput> Generate(const GenerateRequest& request);

  /// Last hidden states [N, 77, D] of the prompts, on the device. Each distinct prompt is encoded once and
  /// kept (a few thousand of them).
  at::Tensor EncodePrompts(absl::Span<const std::string> prompts);

  /// Pictures of latents [N, C, h, w] that carry the VAE's scaling factor: round(255 clamp(x / 2 + 0.5)).
  std::vector<Image> DecodeLatents(const at::Tensor& latents);

  UNet2DConditionModel& unet() { return *unet_; }
  AutoencoderKL& vae() { return *vae_; }
  ClipTextModel& text_encoder() { return *text_encoder_; }
  const ClipTokenizer& tokenizer() const { return *tokenizer_; }
  const NoiseSchedule& noise_schedule() const { return *noise_schedule_; }
  const std::filesystem::path& folder() const { return folder_; }
  const ComputeOptions& options() const { return options_; }
  /// Pixels a side of the model's own size, and pixels a latent cell.
  int default_size() const;
  int vae_scale_factor() const;

 private:
  StableDiffusionPipeline() = default;
  struct Batch;
  struct EncodedPrompt;
  struct PromptCache;

  // Whether tokenizer, text encoder, unet and vae fit together.
  absl::Status CheckParts() const;
  absl::Status CheckRequest(const GenerateRequest& request) const;
  EncodedPrompt EncodePrompt(const std::string& prompt);
  std::vector<int64_t> LatentShape(const GenerateRequest& request, int64_t rows) const;
  // The batch that starts at row `first`.
  Batch MakeBatch(const GenerateRequest& request, int64_t first);
  absl::StatusOr<at::Tensor> Denoise(const GenerateRequest& request, const Batch& batch, Scheduler& scheduler,
                                     GenerateProgress& progress);

  std::filesystem::path folder_;
  ComputeOptions options_;
  std::unique_ptr<ClipTokenizer> tokenizer_;
  std::unique_ptr<ClipTextModel> text_encoder_;
  std::unique_ptr<UNet2DConditionModel> unet_;
  std::unique_ptr<AutoencoderKL> vae_;
  std::unique_ptr<NoiseSchedule> noise_schedule_;
  std::unique_ptr<PromptCache> prompt_cache_;
};

}  // namespace rsidiff::worker
