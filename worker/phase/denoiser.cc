#include "worker/phase/denoiser.h"

#include "common/base/status_macros.h"
#include "worker/phase/model_cache.h"
#include "worker/phase/spec_settings.h"
#include "worker/train/trainable_unet.h"

namespace rsidiff::worker {
namespace {

namespace fs = std::filesystem;

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
  Denoiser denoiser;
  RSIDIFF_ASSIGN_OR_RETURN(denoiser.unet, LoadUnet(model / "unet", lora ? fs::path() : checkpoint, compute));
  if (lora) {
    RSIDIFF_ASSIGN_OR_RETURN(denoiser.lora, LoadLora(payload, checkpoint, *denoiser.unet));
    RSIDIFF_ASSIGN_OR_RETURN(denoiser.trainable, TrainableLora(*denoiser.unet, denoiser.lora));
    return denoiser;
  }
  denoiser.trainable = TrainableUnet(*denoiser.unet);
  if (compute.dtype != at::kFloat) {
    // Half precision computes with copies of fp32 master weights.
    RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<UNet2DConditionModel> exact,
                             LoadUnet(model / "unet", checkpoint, {at::kCPU, at::kFloat}));
    denoiser.trainable.masters = exact->parameters().tensors();
  }
  return denoiser;
}

}  // namespace rsidiff::worker
