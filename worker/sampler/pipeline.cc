#include "worker/sampler/pipeline.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "worker/model/attention.h"
#include "worker/model/autoencoder_kl.h"
#include "worker/model/clip_text_model.h"
#include "worker/model/unet_2d_condition_model.h"
#include "worker/sampler/scheduler.h"
#include "worker/tensor/noise.h"

namespace rsidiff::worker {
namespace {

// An embedding of SD 1.x is 237 kB in fp32.
constexpr size_t kMaxCachedPrompts = 4096;

// round(255 clamp(x / 2 + 0.5)) as diffusers' image_processor.py: [N, 3, H, W] to pictures.
std::vector<Image> ToImages(const at::Tensor& decoded) {
  const at::Tensor bytes = (decoded.to(at::kFloat) * 0.5 + 0.5)
                               .clamp_(0, 1)
                               .mul_(255)
                               .round_()
                               .permute({0, 2, 3, 1})
                               .to(at::kCPU, at::kByte)
                               .contiguous();
  std::vector<Image> images;
  for (int64_t n = 0; n < bytes.size(0); ++n) {
    Image image = MakeImage(static_cast<int>(bytes.size(2)), static_cast<int>(bytes.size(1)));
    std::memcpy(image.rgb.data(), bytes[n].const_data_ptr<uint8_t>(), image.rgb.size());
    images.push_back(std::move(image));
  }
  return images;
}

}  // namespace

struct StableDiffusionPipeline::EncodedPrompt {
  at::Tensor embedding;  // [1, 77, D]
  bool truncated = false;
};

struct StableDiffusionPipeline::PromptCache {
  absl::flat_hash_map<std::string, EncodedPrompt> entries;
};

// One batch under way: rows [first, first + rows) of the request, filled up to the batch shape.
struct StableDiffusionPipeline::Batch {
  int64_t first = 0;
  int64_t rows = 0;
  int64_t shape = 0;            // rows that are computed
  at::Tensor noise;             // unit noise [shape, C, h, w], fp32 on the CPU
  at::Tensor embeddings;        // [shape, 77, D], or [2 * shape, ...] with the negative prompt first
  std::vector<bool> truncated;  // of each of the `rows`: the prompt had too many tokens
};

StableDiffusionPipeline::~StableDiffusionPipeline() = default;

absl::StatusOr<std::unique_ptr<StableDiffusionPipeline>> StableDiffusionPipeline::Load(
    const std::filesystem::path& folder, const ComputeOptions& options) {
  std::unique_ptr<StableDiffusionPipeline> pipeline(new StableDiffusionPipeline());
  pipeline->folder_ = folder;
  pipeline->options_ = options;
  pipeline->prompt_cache_ = std::make_unique<PromptCache>();
  RSIDIFF_ASSIGN_OR_RETURN(const SchedulerConfig scheduler, LoadSchedulerConfig(folder / "scheduler"));
  RSIDIFF_ASSIGN_OR_RETURN(NoiseSchedule noise_schedule, NoiseSchedule::Create(scheduler));
  pipeline->noise_schedule_ = std::make_unique<NoiseSchedule>(std::move(noise_schedule));
  RSIDIFF_ASSIGN_OR_RETURN(pipeline->tokenizer_, ClipTokenizer::Load(folder / "tokenizer"));
  RSIDIFF_ASSIGN_OR_RETURN(pipeline->text_encoder_, ClipTextModel::Load(folder / "text_encoder", options));
  RSIDIFF_ASSIGN_OR_RETURN(pipeline->unet_, UNet2DConditionModel::Load(folder / "unet", options));
  // SD's autoencoder overflows in fp16 and says so; decoding is a small share of the work.
  ComputeOptions vae_options = options;
  if (options.dtype == at::kHalf) vae_options.dtype = at::kFloat;
  RSIDIFF_ASSIGN_OR_RETURN(pipeline->vae_, AutoencoderKL::Load(folder / "vae", vae_options));
  RSIDIFF_RETURN_IF_ERROR(pipeline->CheckParts());
  return pipeline;
}

absl::Status StableDiffusionPipeline::CheckParts() const {
  const int64_t vocabulary = text_encoder_->config().vocab_size;
  if (tokenizer_->vocab_size() > vocabulary) {
    return absl::InvalidArgumentError(absl::StrCat(folder_.string(), ": the tokenizer has ",
                                                   tokenizer_->vocab_size(),
                                                   " tokens, the text encoder embeds ", vocabulary));
  }
  const UNet2DConfig& unet = unet_->config();
  if (unet.in_channels != vae_->config().latent_channels || unet.out_channels != unet.in_channels) {
    return absl::InvalidArgumentError(absl::StrCat(folder_.string(), ": the unet maps ", unet.in_channels,
                                                   " channels to ", unet.out_channels, ", the vae has ",
                                                   vae_->config().latent_channels, " latent channels"));
  }
  const int64_t width = text_encoder_->config().encoder.hidden_size;
  for (int64_t expected : unet.cross_attention_dim) {
    if (expected != width) {
      return absl::InvalidArgumentError(absl::StrCat(folder_.string(), ": the unet's cross_attention_dim is ",
                                                     expected, ", the text encoder's hidden_size ", width));
    }
  }
  return absl::OkStatus();
}

int StableDiffusionPipeline::vae_scale_factor() const {
  return static_cast<int>(vae_->config().downscale_factor());
}

int StableDiffusionPipeline::default_size() const {
  return static_cast<int>(unet_->config().sample_size) * vae_scale_factor();
}

StableDiffusionPipeline::EncodedPrompt StableDiffusionPipeline::EncodePrompt(const std::string& prompt) {
  auto& entries = prompt_cache_->entries;
  if (auto found = entries.find(prompt); found != entries.end()) return found->second;
  const int length =
      std::min<int>(tokenizer_->model_max_length(), text_encoder_->config().max_position_embeddings);
  const PaddedTokens tokens = tokenizer_->EncodePadded(prompt, length);
  // One prompt at a time, so that an embedding's bits do not depend on its company.
  const at::Tensor ids = at::tensor(tokens.ids, at::kLong).unsqueeze(0).to(options_.device);
  EncodedPrompt entry{text_encoder_->Forward(ids).last_hidden_state, tokens.truncated};
  if (entries.size() >= kMaxCachedPrompts) entries.clear();
  return entries.emplace(prompt, std::move(entry)).first->second;
}

at::Tensor StableDiffusionPipeline::EncodePrompts(absl::Span<const std::string> prompts) {
  at::NoGradGuard no_grad;
  std::vector<at::Tensor> embeddings;
  for (const std::string& prompt : prompts) embeddings.push_back(EncodePrompt(prompt).embedding);
  return at::cat(embeddings);
}

std::vector<Image> StableDiffusionPipeline::DecodeLatents(const at::Tensor& latents) {
  at::NoGradGuard no_grad;
  const ComputeOptions& vae = vae_->options();
  return ToImages(vae_->Decode(vae_->Unscale(latents.to(vae.device, vae.dtype))));
}

absl::Status StableDiffusionPipeline::CheckRequest(const GenerateRequest& request) const {
  const int64_t count = request.prompts.size();
  if (count == 0) return absl::InvalidArgumentError("there is no prompt");
  if (request.batch_size < 1) {
    return absl::InvalidArgumentError(absl::StrCat("the batch size is not positive: ", request.batch_size));
  }
  if (!std::isfinite(request.guidance_scale))
    return absl::InvalidArgumentError("the guidance scale is not finite");
  for (const auto& [name, pixels] :
       {std::pair("width", request.width), std::pair("height", request.height)}) {
    if (pixels < 0 || pixels > 8192 || pixels % vae_scale_factor() != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("the ", name, " is not a multiple of ", vae_scale_factor(), " up to 8192: ", pixels));
    }
  }
  if ((request.width == 0 || request.height == 0) && default_size() == 0) {
    return absl::InvalidArgumentError(
        "the unet's config.json has no sample_size, so width and height are needed");
  }
  if (!request.init_latents.defined()) {
    if (request.seeds.size() == count) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(count, " prompts have ", request.seeds.size(), " seeds"));
  }
  const std::vector<int64_t> expected = LatentShape(request, count);
  if (request.init_latents.sizes() != at::IntArrayRef(expected)) {
    return absl::InvalidArgumentError(absl::StrCat("the start latents have the shape [",
                                                   absl::StrJoin(request.init_latents.sizes(), ", "),
                                                   "], not [", absl::StrJoin(expected, ", "), "]"));
  }
  return absl::OkStatus();
}

std::vector<int64_t> StableDiffusionPipeline::LatentShape(const GenerateRequest& request,
                                                          int64_t rows) const {
  const int64_t height = request.height != 0 ? request.height : default_size();
  const int64_t width = request.width != 0 ? request.width : default_size();
  return {rows, unet_->config().in_channels, height / vae_scale_factor(), width / vae_scale_factor()};
}

StableDiffusionPipeline::Batch StableDiffusionPipeline::MakeBatch(const GenerateRequest& request,
                                                                  int64_t first) {
  Batch batch;
  batch.first = first;
  batch.shape = request.batch_size;
  batch.rows = std::min<int64_t>(batch.shape, static_cast<int64_t>(request.prompts.size()) - first);
  std::vector<at::Tensor> negative, positive;
  std::vector<uint64_t> seeds;
  std::vector<int64_t> order;  // the request's row of each computed row
  for (int64_t i = 0; i < batch.shape; ++i) {
    const int64_t row = first + std::min(i, batch.rows - 1);
    const EncodedPrompt entry = EncodePrompt(request.prompts[row]);
    if (i < batch.rows) batch.truncated.push_back(entry.truncated);
    positive.push_back(entry.embedding);
    if (request.guidance_scale > 1) negative.push_back(EncodePrompt(request.negative_prompt).embedding);
    order.push_back(row);
    if (!request.init_latents.defined()) seeds.push_back(request.seeds[row]);
  }
  negative.insert(negative.end(), positive.begin(), positive.end());
  batch.embeddings = at::cat(negative);
  if (request.init_latents.defined()) {
    batch.noise = request.init_latents.to(at::kCPU, at::kFloat).index_select(0, at::tensor(order, at::kLong));
  } else {
    const std::vector<int64_t> shape = LatentShape(request, batch.shape);
    batch.noise = SampleNoise(seeds, at::IntArrayRef(shape).slice(1));
  }
  return batch;
}

absl::StatusOr<at::Tensor> StableDiffusionPipeline::Denoise(const GenerateRequest& request,
                                                            const Batch& batch, Scheduler& scheduler,
                                                            GenerateProgress& progress) {
  const bool guided = request.guidance_scale > 1;
  // Everything that the loop needs goes to the device first; the loop itself only queues work.
  const at::Tensor timesteps = at::tensor(scheduler.timesteps()).to(options_.device);
  at::Tensor latents = batch.noise.to(options_.device) * scheduler.init_noise_sigma();
  CrossAttentionCache cache;
  progress.calls = scheduler.num_calls();
  for (int call = 0; call < scheduler.num_calls(); ++call) {
    at::Tensor input = scheduler.ScaleModelInput(latents, call);
    if (guided) input = at::cat({input, input});
    at::Tensor answer =
        unet_->Forward(input, timesteps.narrow(0, call, 1), batch.embeddings, cache).to(at::kFloat);
    if (guided) {
      const at::Tensor unconditional = answer.narrow(0, 0, batch.shape);
      const at::Tensor conditional = answer.narrow(0, batch.shape, batch.shape);
      answer = at::add(unconditional, conditional - unconditional, request.guidance_scale);
    }
    latents = scheduler.Step(answer, call, latents);
    progress.call = call + 1;
    if (request.on_progress && !request.on_progress(progress))
      return absl::CancelledError("generation was cancelled");
  }
  return latents;
}

absl::StatusOr<GenerateOutput> StableDiffusionPipeline::Generate(const GenerateRequest& request) {
  at::NoGradGuard no_grad;
  RSIDIFF_RETURN_IF_ERROR(CheckRequest(request));
  RSIDIFF_ASSIGN_OR_RETURN(const SchedulerConfig config,
                           LoadSchedulerConfig(folder_ / "scheduler", request.scheduler));
  const int64_t count = request.prompts.size();
  GenerateOutput output;
  GenerateProgress progress;
  progress.batches = (count + request.batch_size - 1) / request.batch_size;
  std::vector<at::Tensor> latents;
  for (int64_t first = 0; first < count; first += request.batch_size) {
    ++progress.batch;
    progress.call = 0;
    const Batch batch = MakeBatch(request, first);
    output.truncated.insert(output.truncated.end(), batch.truncated.begin(), batch.truncated.end());
    RSIDIFF_ASSIGN_OR_RETURN(const std::unique_ptr<Scheduler> scheduler,
                             CreateScheduler(config, request.steps));
    RSIDIFF_ASSIGN_OR_RETURN(const at::Tensor denoised, Denoise(request, batch, *scheduler, progress));
    latents.push_back(denoised.narrow(0, 0, batch.rows).to(at::kCPU));
    if (!at::isfinite(latents.back()).all().item<bool>()) {
      return absl::InternalError(absl::StrCat("the latents of samples ", first, " to ",
                                              first + batch.rows - 1, " are not finite after ", request.steps,
                                              " steps"));
    }
    if (request.decode) {
      std::vector<Image> images = DecodeLatents(denoised);
      images.resize(batch.rows);
      std::move(images.begin(), images.end(), std::back_inserter(output.images));
    }
  }
  output.latents = at::cat(latents);
  return output;
}

}  // namespace rsidiff::worker
