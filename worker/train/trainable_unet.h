#pragma once

#include <filesystem>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/unet_2d_condition_model.h"
#include "worker/tensor/safetensors.h"
#include "worker/train/lora.h"
#include "worker/train/trainer.h"

namespace rsidiff::worker {

/// All of the UNet, which has to outlive the training. Where it computes in half precision the caller gives
/// the masters.
TrainableModel TrainableUnet(UNet2DConditionModel& unet);

/// Only the adapter, which is attached to the UNet; its fp32 values are the masters. Errors: AttachLora's.
absl::StatusOr<TrainableModel> TrainableLora(UNet2DConditionModel& unet, const LoraWeights& lora);

/// Writes Trainer::Product as diffusers reads it: the UNet's weights, or with a `lora` that is not empty an
/// adapter file.
absl::Status WriteProduct(const std::filesystem::path& path, const NamedTensors& product,
                          const LoraWeights& lora);

}  // namespace rsidiff::worker
