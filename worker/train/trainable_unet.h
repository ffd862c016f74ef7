#pragma once

#include <filesystem>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/unet_2d_condition_model.h"
#include "worker/tensor/device.h"
#include "worker/tensor/safetensors.h"
#include "worker/train/lora.h"
#include "worker/train/trainer.h"

namespace rsidiff::worker {

/// Where a UNet's weights are: a folder in diffusers' format, or in its weights' place a checkpoint's.
struct UnetSource {
  std::filesystem::path folder;
  std::filesystem::path checkpoint;  // safetensors; empty: the folder's own weights
};

/// Errors: those of loading, and of a checkpoint that does not fit.
absl::StatusOr<std::unique_ptr<UNet2DConditionModel>> LoadUnet(const UnetSource& source,
                                                               const ComputeOptions& compute);

/// All of the UNet that was loaded from `source`, and has to outlive the training. Where it computes in half
/// precision the masters are the source's values in fp32. Errors: LoadUnet's.
absl::StatusOr<TrainableModel> TrainableUnet(UNet2DConditionModel& unet, const UnetSource& source);

/// Only the adapter, which is attached to the UNet; its fp32 values are the masters. Errors: AttachLora's.
absl::StatusOr<TrainableModel> TrainableLora(UNet2DConditionModel& unet, const LoraWeights& lora);

/// Writes Trainer::Product as diffusers reads it: the UNet's weights, or with a `lora` that is not empty an
/// adapter file.
absl::Status WriteProduct(const std::filesystem::path& path, const NamedTensors& product,
                          const LoraWeights& lora);

}  // namespace rsidiff::worker
