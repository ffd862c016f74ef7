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

absl::StatusOr<std::unique_ptr<UNet2DConditionModel>> LoadUnet(const UnetSource& source,
                                                               const ComputeOptions& compute) {
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<UNet2DConditionModel> unet,
                           UNet2DConditionModel::Load(source.folder, compute));
  if (source.checkpoint.empty()) return unet;
  RSIDIFF_ASSIGN_OR_RETURN(const std::shared_ptr<SafetensorsFile> file,
                           SafetensorsFile::Open(source.checkpoint));
  RSIDIFF_ASSIGN_OR_RETURN(const NamedTensors tensors, file->GetAll());
  RSIDIFF_RETURN_IF_ERROR(unet->parameters().Assign(tensors, Parameters::Coverage::kAll));
  return unet;
}

absl::StatusOr<TrainableModel> TrainableUnet(UNet2DConditionModel& unet, const UnetSource& source) {
  TrainableModel model = Training(unet, unet.parameters().tensors());
  if (unet.options().dtype == at::kFloat) return model;
  // Half precision computes with copies of fp32 master weights.
  RSIDIFF_ASSIGN_OR_RETURN(const std::unique_ptr<UNet2DConditionModel> exact,
                           LoadUnet(source, {at::kCPU, at::kFloat}));
  model.masters = exact->parameters().tensors();
  return model;
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
