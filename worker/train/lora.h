#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/model/unet_2d_condition_model.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {

/// A low-rank adapter of one linear layer: adds alpha / rank · up · down to its weight.
struct LoraPair {
  at::Tensor down;  // [rank, in], "lora_A" in PEFT's names
  at::Tensor up;    // [out, rank], "lora_B"
  double alpha = 0.0;

  double scale() const { return alpha / static_cast<double>(down.size(0)); }
};

/// An adapter: pairs by the layer's diffusers module path.
using LoraWeights = std::map<std::string, LoraPair>;

struct LoraOptions {
  int64_t rank = 4;
  double alpha = 0.0;  // 0: the rank
  /// Layers whose path is one of these or ends in "." and one of these.
  std::vector<std::string> targets = {"to_q", "to_k", "to_v", "to_out.0"};
  uint64_t seed = 0;
};

/// An untrained adapter, as PEFT initialises one: down is Kaiming-uniform with a = sqrt(5), that is
/// U(-1/sqrt(in), 1/sqrt(in)), from a generator of each layer's own; up is zero. fp32 on the model's device.
/// INVALID_ARGUMENT: a target that no layer matches, or a rank below 1.
absl::StatusOr<LoraWeights> InitialLora(UNet2DConditionModel& unet, const LoraOptions& options);

/// Reads an adapter: PEFT names (unet.PATH.lora_A.weight and lora_B.weight) or diffusers' older ones
/// (unet.PATH.lora.down.weight and .up.weight), alpha from "lora_adapter_metadata" or PATH.alpha tensors,
/// else the rank. fp32 copies on the CPU. INVALID_ARGUMENT names the file and the key that does not fit.
absl::StatusOr<LoraWeights> ReadLora(const std::filesystem::path& path);
absl::StatusOr<LoraWeights> ParseLora(const NamedTensors& tensors,
                                      const std::map<std::string, std::string>& metadata,
                                      absl::string_view name);

/// What StableDiffusionPipeline.load_lora_weights of diffusers reads: PEFT names under "unet." and
/// "lora_adapter_metadata". All pairs have one rank and one alpha.
struct LoraFile {
  NamedTensors tensors;
  std::map<std::string, std::string> metadata;
};
LoraFile ExportLora(const LoraWeights& weights);

/// Makes the layers compute with the adapter, in the model's type. INVALID_ARGUMENT, with nothing attached,
/// for a layer that the model lacks or another shape.
absl::Status AttachLora(UNet2DConditionModel& unet, const LoraWeights& weights);
/// The attached tensors, "PATH.lora_A.weight" and "PATH.lora_B.weight" in order of paths: what a Trainer
/// trains.
NamedTensors AttachedLora(UNet2DConditionModel& unet);
/// The pairs of `weights` with the values of `trained`, which has the names of AttachedLora.
LoraWeights WithValues(const LoraWeights& weights, const NamedTensors& trained);

/// Adds the adapter to the weights themselves: same output, no extra work a step. Returns the weights that
/// were changed; unet.parameters().Assign(them, kSome) undoes it exactly.
absl::StatusOr<NamedTensors> MergeLora(UNet2DConditionModel& unet, const LoraWeights& weights);

}  // namespace rsidiff::worker
