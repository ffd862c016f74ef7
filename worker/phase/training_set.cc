#include "worker/phase/training_set.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/base/status_macros.h"
#include "worker/model/autoencoder_kl.h"
#include "worker/phase/feature_file.h"

namespace rsidiff::worker {
namespace {

constexpr size_t kPromptsAtOnce = 16;

/// Latents [1, C, h, w] of one example at a time, fp32 on the CPU.
class LatentReader {
 public:
  LatentReader(v1::LatentSource source, StableDiffusionPipeline& pipeline, PhaseContext& context)
      : source_(source), pipeline_(pipeline), context_(context) {}

  absl::StatusOr<at::Tensor> Read(const TrainingExample& example) {
    return source_ == v1::LATENT_SOURCE_ENCODED ? Encode(example.image) : Stored(example);
  }

 private:
  absl::StatusOr<at::Tensor> Stored(const TrainingExample& example) {
    at::Tensor& file = files_[example.latents];
    if (!file.defined()) {
      RSIDIFF_ASSIGN_OR_RETURN(file, ReadTensor(context_.store, example.latents, "latents", 4));
    }
    if (example.row >= file.size(0)) {
      return absl::InvalidArgumentError(absl::StrCat("artifact ", example.latents, ": latents of ",
                                                     file.size(0), " samples have no row ", example.row));
    }
    return file.narrow(0, example.row, 1).to(at::kFloat);
  }

  // The posterior's mode, one picture at a time: whatever else is in the set, its latents have the same bits.
  absl::StatusOr<at::Tensor> Encode(const std::string& digest) {
    RSIDIFF_ASSIGN_OR_RETURN(std::shared_ptr<const Image> image, context_.images.Get(digest, context_.store));
    AutoencoderKL& vae = pipeline_.vae();
    const int64_t multiple = vae.config().downscale_factor();
    if (image->width % multiple != 0 || image->height % multiple != 0) {
      return absl::InvalidArgumentError(absl::StrCat("picture ", digest, ": sides are not multiples of ",
                                                     multiple, ": ", image->width, " x ", image->height));
    }
    at::Tensor pixels = at::empty({1, image->height, image->width, 3}, at::kByte);
    std::copy(image->rgb.begin(), image->rgb.end(), pixels.data_ptr<uint8_t>());
    pixels = pixels.permute({0, 3, 1, 2}).to(at::kFloat).div(127.5).sub(1.0);
    return vae.Scale(vae.Encode(pixels).mean).to(at::kFloat).cpu();
  }

  const v1::LatentSource source_;
  StableDiffusionPipeline& pipeline_;
  PhaseContext& context_;
  std::map<std::string, at::Tensor> files_;
};

at::Tensor EncodeCaptions(StableDiffusionPipeline& pipeline, const std::vector<std::string>& captions) {
  std::vector<at::Tensor> contexts;
  for (size_t begin = 0; begin < captions.size(); begin += kPromptsAtOnce) {
    auto some = absl::MakeConstSpan(captions).subspan(begin, kPromptsAtOnce);
    contexts.push_back(pipeline.EncodePrompts(some).to(at::kFloat).cpu());
  }
  return at::cat(contexts);
}

}  // namespace

absl::StatusOr<TrainingSet> LoadTrainingSet(const std::vector<TrainingExample>& examples,
                                            v1::LatentSource source, StableDiffusionPipeline& pipeline,
                                            PhaseContext& context) {
  c10::NoGradGuard no_grad;
  LatentReader reader(source, pipeline, context);
  TrainingSet set;
  std::vector<at::Tensor> latents;
  std::map<std::string, int64_t> rows = {{"", 0}};
  std::vector<std::string> captions = {""};
  for (const TrainingExample& example : examples) {
    RSIDIFF_ASSIGN_OR_RETURN(at::Tensor latent, reader.Read(example));
    const std::string name = absl::StrCat("picture ", example.image);
    if (!latents.empty() && latent.sizes() != latents.front().sizes()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": its latents differ in shape from the first example's"));
    }
    latents.push_back(std::move(latent));
    auto [caption, fresh] = rows.emplace(example.prompt, static_cast<int64_t>(captions.size()));
    if (fresh) captions.push_back(example.prompt);
    set.context_of.push_back(caption->second);
    set.weights.push_back(static_cast<float>(example.weight));
    set.replay.push_back(example.replay);
    set.names.push_back(name);
  }
  set.latents = at::cat(latents);
  set.contexts = EncodeCaptions(pipeline, captions);
  return set;
}

}  // namespace rsidiff::worker
