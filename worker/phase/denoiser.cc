#include "worker/phase/denoiser.h"

#include "common/base/status_macros.h"
#include "worker/phase/model_cache.h"
#include "worker/phase/spec_settings.h"
#include "worker/train/trainable_unet.h"

namespace rsidiff::worker {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<LoraWeights> LoadLora(const v1::TaskPayload& payload, const fs::path& checkpoint,
                                     UNet2DConditionModel& unet) {
  if (!checkpoint.empty()) return ReadLora(checkpoint);
  const v1::LoraSpec& spec = payload.spec().train().lora();
  LoraOptions options;
  options.rank = spec.rank();
  options.alpha = spec.alpha();
  if (spec.targets_size() > 0) options.targets.assign(spec.targets().begin(), spec.targets().end());
  options.seed = payload.train().seed();
  return InitialLora(unet, options);
}

}  // namespace

absl::StatusOr<Denoiser> LoadDenoiser(const v1::TaskPayload& payload, const fs::path& model,
                                      PhaseContext& context) {
  const ComputeOptions compute{context.device, DtypeOf(payload.spec().train().precision())};
  const bool lora = TrainsLora(payload.spec());
  fs::path checkpoint;
  if (!payload.checkpoint().empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(checkpoint, context.store.LocalPath(payload.checkpoint()));
  }
  const UnetSource source{model / "unet", lora ? fs::path() : checkpoint};
  Denoiser denoiser;
  RSIDIFF_ASSIGN_OR_RETURN(denoiser.unet, LoadUnet(source, compute));
  if (lora) {
    RSIDIFF_ASSIGN_OR_RETURN(denoiser.lora, LoadLora(payload, checkpoint, *denoiser.unet));
    RSIDIFF_ASSIGN_OR_RETURN(denoiser.trainable, TrainableLora(*denoiser.unet, denoiser.lora));
    return denoiser;
  }
  RSIDIFF_ASSIGN_OR_RETURN(denoiser.trainable, TrainableUnet(*denoiser.unet, source));
  return denoiser;
}

}  // namespace rsidiff::worker
