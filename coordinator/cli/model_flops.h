#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/status/statusor.h"
#include "rsidiff/v1/run.pb.h"

namespace rsidiff::coordinator {

/// Floating point operations of one pass over one sample, counted from the models' configurations: matrix
/// products and convolutions, 2 operations a multiply-add; norms, activations and the like are left out, as
/// torch.utils.flop_counter does. docs/run-file.md has the formulas.
struct PipelineFlops {
  double unet = 0;
  double vae_decode = 0;
  double vae_encode = 0;
  double text = 0;  // of one prompt
};

struct PictureSize {
  uint32_t width = 0;  // pixels
  uint32_t height = 0;
};

/// Of a diffusers StableDiffusionPipeline folder. INVALID_ARGUMENT names the configuration file that does not
/// make sense.
absl::StatusOr<PipelineFlops> CountPipelineFlops(const std::filesystem::path& model, PictureSize picture);

/// Of a CLIP folder's two towers.
struct ClipFlops {
  double image = 0;
  double text = 0;
};

/// NOT_FOUND: config.json is not that of a CLIPModel.
absl::StatusOr<ClipFlops> CountClipFlops(const std::filesystem::path& folder);

}  // namespace rsidiff::coordinator
