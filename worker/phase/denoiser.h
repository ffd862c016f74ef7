#pragma once

#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"
#include "rsidiff/v1/work.pb.h"
#include "worker/model/unet_2d_condition_model.h"
#include "worker/phase/phase_context.h"
#include "worker/train/lora.h"
#include "worker/train/trainer.h"

namespace rsidiff::worker {

/// The denoiser of one training, apart from the model that draws samples: its parameters move.
struct Denoiser {
  std::unique_ptr<UNet2DConditionModel> unet;
  LoraWeights lora;  // empty: the whole UNet is trained
  TrainableModel trainable;
};

/// The UNet of the model in folder `model` (or the checkpoint that the task starts from in its place), on the
/// task's device in the run's precision, with fp32 masters; for a LoRA run the UNet with the task's adapter,
/// or with a new one. Errors: those of loading and, for an adapter that does not fit, AttachLora's.
absl::StatusOr<Denoiser> LoadDenoiser(const v1::TaskPayload& payload, const std::filesystem::path& model,
                                      PhaseContext& context);

}  // namespace rsidiff::worker
