// Runs a CLIP folder on given inputs, for comparison with transformers:
//
//   run_clip text FOLDER IN OUT        CLIPTextModel; IN holds "ids"
//   run_clip model FOLDER IN OUT       CLIPModel; IN holds "ids" and "pixels"
//   run_clip pixels FOLDER OUT PNG...  preprocessing; OUT holds "0", "1", ... of shape [3, H, W]
//
// Models run on RSIDIFF_TEST_DEVICE.
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/image/png.h"
#include "tests/parity/compute_device.h"
#include "worker/model/clip_model.h"
#include "worker/model/clip_text_model.h"
#include "worker/scorer/clip_preprocessor.h"
#include "worker/tensor/device.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {
namespace {

absl::StatusOr<ComputeOptions> Compute() {
  ComputeOptions options;
  RSIDIFF_ASSIGN_OR_RETURN(options.device, TestDevice());
  return options;
}

absl::Status RunText(const std::vector<std::string>& arguments) {
  RSIDIFF_ASSIGN_OR_RETURN(const ComputeOptions compute, Compute());
  RSIDIFF_ASSIGN_OR_RETURN(const auto model, ClipTextModel::Load(arguments[0], compute));
  RSIDIFF_ASSIGN_OR_RETURN(const auto input, SafetensorsFile::Open(arguments[1]));
  RSIDIFF_ASSIGN_OR_RETURN(const at::Tensor ids, input->Get("ids"));
  const ClipTextModel::Output output = model->Forward(ids);
  return WriteSafetensors(arguments[2],
                          {{"last_hidden_state", output.last_hidden_state},
                           {"pooled", output.pooled},
                           {"penultimate", output.penultimate}},
                          {});
}

absl::Status RunModel(const std::vector<std::string>& arguments) {
  RSIDIFF_ASSIGN_OR_RETURN(const ComputeOptions compute, Compute());
  RSIDIFF_ASSIGN_OR_RETURN(const auto model, ClipModel::Load(arguments[0], compute));
  RSIDIFF_ASSIGN_OR_RETURN(const auto input, SafetensorsFile::Open(arguments[1]));
  RSIDIFF_ASSIGN_OR_RETURN(const at::Tensor ids, input->Get("ids"));
  RSIDIFF_ASSIGN_OR_RETURN(const at::Tensor pixels, input->Get("pixels"));
  return WriteSafetensors(arguments[2],
                          {{"image", model->ImageFeatures(pixels)}, {"text", model->TextFeatures(ids)}},
                          {{"logit_scale", absl::StrCat(model->logit_scale())}});
}

absl::Status RunPixels(const std::vector<std::string>& arguments) {
  RSIDIFF_ASSIGN_OR_RETURN(const ClipPreprocessing settings, LoadClipPreprocessing(arguments[0]));
  const ClipPreprocessor preprocessor(settings);
  NamedTensors pixels;
  for (size_t i = 2; i < arguments.size(); ++i) {
    RSIDIFF_ASSIGN_OR_RETURN(const std::string png, ReadFile(arguments[i]));
    RSIDIFF_ASSIGN_OR_RETURN(const Image image, DecodePng(png));
    RSIDIFF_ASSIGN_OR_RETURN(at::Tensor tensor, preprocessor.Preprocess(image));
    pixels.emplace_back(absl::StrCat(i - 2), std::move(tensor));
  }
  return WriteSafetensors(arguments[1], pixels, {});
}

absl::Status Run(const std::string& what, const std::vector<std::string>& arguments) {
  c10::InferenceMode inference;
  if (what == "text" && arguments.size() == 3) return RunText(arguments);
  if (what == "model" && arguments.size() == 3) return RunModel(arguments);
  if (what == "pixels" && arguments.size() >= 2) return RunPixels(arguments);
  return absl::InvalidArgumentError("usage: run_clip text|model|pixels FOLDER ...");
}

}  // namespace
}  // namespace rsidiff::worker

int main(int argc, char** argv) {
  rsidiff::worker::ConfigureProcess(1);
  absl::Status status;
  try {
    status = rsidiff::worker::Run(argc > 1 ? argv[1] : "",
                                  std::vector<std::string>(argv + std::min(argc, 2), argv + argc));
  } catch (const std::exception& error) {
    status = absl::InternalError(error.what());
  }
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
