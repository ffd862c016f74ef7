#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "worker/model/parameters.h"
#include "worker/tensor/device.h"
#include "worker/tensor/json_config.h"

namespace rsidiff::worker {

/// Settings of diffusers' AutoencoderKL; names and defaults are diffusers'.
struct AutoencoderKLConfig {
  int64_t in_channels = 3;
  int64_t out_channels = 3;
  std::vector<int64_t> block_out_channels;
  int64_t layers_per_block = 1;
  int64_t latent_channels = 4;
  int64_t norm_num_groups = 32;
  /// Picture height and width that the model was made for; 0 when the file does not say.
  int64_t sample_size = 0;
  double scaling_factor = 0.18215;
  /// Present in newer models: latents are (z − shift) · scaling_factor.
  std::optional<double> shift_factor;
  /// Per channel, empty when absent; recorded for the caller, no SD 1.x or 2.x model sets them.
  std::vector<double> latents_mean;
  std::vector<double> latents_std;
  /// The model overflows in fp16: whoever asks for fp16 should load it in fp32.
  bool force_upcast = true;
  bool use_quant_conv = true;
  bool use_post_quant_conv = true;
  bool mid_block_add_attention = true;

  /// Picture pixels a latent pixel, in each direction.
  int64_t downscale_factor() const { return int64_t{1} << (block_out_channels.size() - 1); }
};

/// INVALID_ARGUMENT names each key that is malformed or that asks for something this engine does not compute.
absl::StatusOr<AutoencoderKLConfig> ParseAutoencoderKLConfig(JsonConfig json);

/// Stable Diffusion's image autoencoder: diffusers' AutoencoderKL
/// (src/diffusers/models/autoencoders/autoencoder_kl.py). Encode and Decode may run on several threads at
/// once while nobody changes parameters.
class AutoencoderKL {
 public:
  /// Loads `folder`/config.json and its safetensors weights. Errors name the file and the key or tensor.
  static absl::StatusOr<std::unique_ptr<AutoencoderKL>> Load(const std::filesystem::path& folder,
                                                             const ComputeOptions& options);
  ~AutoencoderKL();
  AutoencoderKL(const AutoencoderKL&) = delete;
  AutoencoderKL& operator=(const AutoencoderKL&) = delete;

  /// The diagonal Gaussian of latents, before scaling; logvar clamped to [-30, 20]. Each [N, latent_channels,
  /// h, w].
  struct Posterior {
    at::Tensor mean;
    at::Tensor logvar;

    /// mean + exp(logvar / 2) · noise.
    at::Tensor Sample(const at::Tensor& noise) const;
  };
  /// images [N, in_channels, H, W] in [-1, 1], H and W multiples of the downscale factor.
  Posterior Encode(const at::Tensor& images);
  /// latents [N, latent_channels, h, w], already divided by scaling_factor (and shifted back), to pictures
  /// [N, out_channels, H, W], about [-1, 1], not clamped.
  at::Tensor Decode(const at::Tensor& latents);

  /// Model latents (what the UNet works on) from latents of the posterior, and back: (z − shift) · factor.
  at::Tensor Scale(const at::Tensor& latents) const;
  at::Tensor Unscale(const at::Tensor& latents) const;

  Parameters& parameters() { return parameters_; }
  const AutoencoderKLConfig& config() const { return config_; }
  const ComputeOptions& options() const { return options_; }

 private:
  struct Modules;
  AutoencoderKL(AutoencoderKLConfig config, const ComputeOptions& options);
  absl::Status Build(ParameterLoader& loader);

  AutoencoderKLConfig config_;
  ComputeOptions options_;
  std::unique_ptr<Modules> modules_;
  Parameters parameters_;
};

}  // namespace rsidiff::worker
