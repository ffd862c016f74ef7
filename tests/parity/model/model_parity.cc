// Runs our models and our safetensors code on files, for the pytest files beside it.
//
//   model_parity unet FOLDER IN OUT [--cache] [--gradients] [--dtype D]
//       IN: sample, timesteps, encoder_hidden_states [, target]; OUT: sample [, cached] [, loss, grad.NAME
//       ...]
//   model_parity vae FOLDER IN OUT [--dtype D]
//       IN: images, latents; OUT: mean, logvar, sampled, scaled, unscaled, decoded
//   model_parity load unet|vae FOLDER...     one line a folder: "ok" or the error
//   model_parity copy IN OUT                 safetensors in, safetensors out, values and metadata kept
//   model_parity noise OUT SEED...           [seeds, 2, 3, 5] start noise
// Models run on RSIDIFF_TEST_DEVICE. The last line on stderr is the peak resident set in KiB.

#include <sys/resource.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "tests/parity/compute_device.h"
#include "worker/model/autoencoder_kl.h"
#include "worker/model/unet_2d_condition_model.h"
#include "worker/tensor/device.h"
#include "worker/tensor/noise.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {
namespace {

struct Arguments {
  std::vector<std::string> positional;
  ComputeOptions options;
  bool cache = false;
  bool gradients = false;
};

absl::StatusOr<Arguments> ParseArguments(int argc, char** argv) {
  Arguments arguments;
  RSIDIFF_ASSIGN_OR_RETURN(arguments.options.device, TestDevice());
  for (int i = 1; i < argc; ++i) {
    std::string text = argv[i];
    if (text == "--cache") {
      arguments.cache = true;
    } else if (text == "--gradients") {
      arguments.gradients = true;
    } else if (text == "--dtype" && i + 1 < argc) {
      RSIDIFF_ASSIGN_OR_RETURN(arguments.options.dtype, ParsePrecision(argv[++i]));
    } else {
      arguments.positional.push_back(text);
    }
  }
  return arguments;
}

absl::Status RunUNet(const Arguments& arguments) {
  RSIDIFF_ASSIGN_OR_RETURN(auto unet, UNet2DConditionModel::Load(arguments.positional[1], arguments.options));
  RSIDIFF_ASSIGN_OR_RETURN(auto input, SafetensorsFile::Open(arguments.positional[2]));
  RSIDIFF_ASSIGN_OR_RETURN(at::Tensor sample, input->Get("sample"));
  RSIDIFF_ASSIGN_OR_RETURN(at::Tensor timesteps, input->Get("timesteps"));
  RSIDIFF_ASSIGN_OR_RETURN(at::Tensor context, input->Get("encoder_hidden_states"));
  NamedTensors output;
  if (!arguments.gradients) {
    at::InferenceMode inference;
    output.emplace_back("sample", unet->Forward(sample, timesteps, context));
    if (arguments.cache) {
      CrossAttentionCache cache;
      unet->Forward(sample, timesteps + 1, context, cache);
      output.emplace_back("cached", unet->Forward(sample, timesteps, context, cache));
    }
  } else {
    RSIDIFF_ASSIGN_OR_RETURN(at::Tensor target, input->Get("target"));
    for (const auto& [name, tensor] : unet->parameters().tensors()) tensor.set_requires_grad(true);
    at::Tensor predicted = unet->Forward(sample, timesteps, context);
    at::Tensor loss = at::mse_loss(predicted.to(at::kFloat), target.to(predicted.device()));
    loss.backward();
    output.emplace_back("sample", predicted);
    output.emplace_back("loss", loss);
    for (const auto& [name, tensor] : unet->parameters().tensors()) {
      output.emplace_back("grad." + name, tensor.grad());
    }
  }
  return WriteSafetensors(arguments.positional[3], output, {});
}

absl::Status RunVae(const Arguments& arguments) {
  at::InferenceMode inference;
  RSIDIFF_ASSIGN_OR_RETURN(auto vae, AutoencoderKL::Load(arguments.positional[1], arguments.options));
  RSIDIFF_ASSIGN_OR_RETURN(auto input, SafetensorsFile::Open(arguments.positional[2]));
  RSIDIFF_ASSIGN_OR_RETURN(at::Tensor images, input->Get("images"));
  RSIDIFF_ASSIGN_OR_RETURN(at::Tensor latents, input->Get("latents"));
  AutoencoderKL::Posterior posterior = vae->Encode(images);
  NamedTensors output = {{"mean", posterior.mean},
                         {"logvar", posterior.logvar},
                         {"sampled", posterior.Sample(at::ones_like(posterior.mean))},
                         {"scaled", vae->Scale(posterior.mean)},
                         {"unscaled", vae->Unscale(vae->Scale(posterior.mean))},
                         {"decoded", vae->Decode(latents)}};
  return WriteSafetensors(arguments.positional[3], output, {});
}

absl::Status TryLoads(const Arguments& arguments) {
  for (size_t i = 2; i < arguments.positional.size(); ++i) {
    const std::string& folder = arguments.positional[i];
    absl::Status status = arguments.positional[1] == "vae"
                              ? AutoencoderKL::Load(folder, arguments.options).status()
                              : UNet2DConditionModel::Load(folder, arguments.options).status();
    std::cout << (status.ok() ? "ok" : std::string(status.message())) << "\n";
  }
  return absl::OkStatus();
}

absl::Status Copy(const Arguments& arguments) {
  RSIDIFF_ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open(arguments.positional[1]));
  RSIDIFF_ASSIGN_OR_RETURN(NamedTensors tensors, file->GetAll());
  return WriteSafetensors(arguments.positional[2], tensors, file->metadata());
}

absl::Status WriteNoise(const Arguments& arguments) {
  std::vector<uint64_t> seeds;
  for (size_t i = 2; i < arguments.positional.size(); ++i) {
    uint64_t seed = 0;
    if (!absl::SimpleAtoi(arguments.positional[i], &seed)) return absl::InvalidArgumentError("bad seed");
    seeds.push_back(seed);
  }
  return WriteSafetensors(arguments.positional[1], {{"noise", SampleNoise(seeds, {2, 3, 5})}}, {});
}

absl::Status Run(int argc, char** argv) {
  ConfigureProcess(/*threads=*/1);
  RSIDIFF_ASSIGN_OR_RETURN(Arguments arguments, ParseArguments(argc, argv));
  const std::vector<std::string>& positional = arguments.positional;
  std::string command = positional.empty() ? "" : positional[0];
  if (command == "unet" && positional.size() == 4) return RunUNet(arguments);
  if (command == "vae" && positional.size() == 4) return RunVae(arguments);
  if (command == "load" && positional.size() >= 3) return TryLoads(arguments);
  if (command == "copy" && positional.size() == 3) return Copy(arguments);
  if (command == "noise" && positional.size() >= 2) return WriteNoise(arguments);
  return absl::InvalidArgumentError("usage: see model_parity.cc");
}

}  // namespace
}  // namespace rsidiff::worker

int main(int argc, char** argv) {
  absl::Status status = rsidiff::worker::Run(argc, argv);
  if (!status.ok()) std::cerr << status.message() << "\n";
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  std::cerr << "peak_rss_kib " << usage.ru_maxrss << "\n";
  return status.ok() ? 0 : 1;
}
