#include "worker/train/trainable_unet.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace rsidiff::worker {
namespace {

TrainableModel Training(UNet2DConditionModel& unet, NamedTensors parameters) {
  TrainableModel model;
  model.parameters = std::move(parameters);
  model.forward = [&unet](const at::Tensor& noisy, const at::Tensor& timesteps, const at::Tensor& captions) {
    return unet.Forward(noisy, timesteps, captions);
  };
  return model;
}

}  // namespace

TrainableModel TrainableUnet(UNet2DConditionModel& unet) {
  return Training(unet, unet.parameters().tensors());
}

absl::StatusOr<TrainableModel> TrainableLora(UNet2DConditionModel& unet, const LoraWeights& lora) {
  RSIDIFF_RETURN_IF_ERROR(AttachLora(unet, lora));
  TrainableModel model = Training(unet, AttachedLora(unet));
  for (const auto& [path, pair] : lora) {
    model.masters.emplace_back(absl::StrCat(path, ".lora_A.weight"), pair.down);
    model.masters.emplace_back(absl::StrCat(path, ".lora_B.weight"), pair.up);
  }
  return model;
}

absl::Status WriteProduct(const std::filesystem::path& path, const NamedTensors& product,
                          const LoraWeights& lora) {
  if (lora.empty()) return WriteSafetensors(path, product, {{"format", "pt"}});
  const LoraFile file = ExportLora(WithValues(lora, product));
  return WriteSafetensors(path, file.tensors, file.metadata);
}

}  // namespace rsidiff::worker
