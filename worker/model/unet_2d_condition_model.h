#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "worker/model/attention.h"
#include "worker/model/linear.h"
#include "worker/model/parameters.h"
#include "worker/model/unet_2d_config.h"
#include "worker/tensor/device.h"

namespace rsidiff::worker {

/// The denoiser of Stable Diffusion 1.x and 2.x: diffusers' UNet2DConditionModel
/// (src/diffusers/models/unets/unet_2d_condition.py), the same numbers from the same folder.
/// Forward may run on several threads at once while nobody changes parameters or LoRA pairs.
class UNet2DConditionModel {
 public:
  /// Loads `folder`/config.json and its safetensors weights. Errors name the file and the key or tensor.
  static absl::StatusOr<std::unique_ptr<UNet2DConditionModel>> Load(const std::filesystem::path& folder,
                                                                    const ComputeOptions& options);
  /// Over weights in memory, shared where device and dtype suit; `name` stands before error messages.
  static absl::StatusOr<std::unique_ptr<UNet2DConditionModel>> Create(const UNet2DConfig& config,
                                                                      NamedTensors weights, std::string name,
                                                                      const ComputeOptions& options);
  ~UNet2DConditionModel();
  UNet2DConditionModel(const UNet2DConditionModel&) = delete;
  UNet2DConditionModel& operator=(const UNet2DConditionModel&) = delete;

  /// The model's prediction (noise or velocity) for noisy latents. Inputs are converted to the model's device
  /// and dtype; the result [N, out_channels, h, w] has these. Records gradients as torch's grad mode says.
  /// `timesteps`: [N] or [1], integer or floating point. `encoder_hidden_states`: [N, S,
  /// cross_attention_dim].
  at::Tensor Forward(const at::Tensor& sample, const at::Tensor& timesteps,
                     const at::Tensor& encoder_hidden_states);
  /// The same; keys and values of the cross-attentions are kept in `cache` and reused while
  /// `encoder_hidden_states` is the very same tensor. For one denoising loop, without gradients: the cache
  /// must not outlive a change of weights.
  at::Tensor Forward(const at::Tensor& sample, const at::Tensor& timesteps,
                     const at::Tensor& encoder_hidden_states, CrossAttentionCache& cache);

  Parameters& parameters() { return parameters_; }
  const UNet2DConfig& config() const { return config_; }
  const ComputeOptions& options() const { return options_; }
  /// Every linear layer by module path, for LoRA. The pointers live as long as the model.
  std::map<std::string, Linear*> linears();

 private:
  struct Modules;
  UNet2DConditionModel(UNet2DConfig config, const ComputeOptions& options);
  absl::Status Build(ParameterLoader& loader);
  at::Tensor Run(const at::Tensor& sample, const at::Tensor& timesteps,
                 const at::Tensor& encoder_hidden_states, CrossAttentionCache* cache);

  UNet2DConfig config_;
  ComputeOptions options_;
  std::unique_ptr<Modules> modules_;
  Parameters parameters_;
};

}  // namespace rsidiff::worker
