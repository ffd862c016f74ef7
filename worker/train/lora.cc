#include "worker/train/lora.h"

#include <cmath>
#include <optional>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/seed.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace rsidiff::worker {
namespace {

constexpr char kMetadataKey[] = "lora_adapter_metadata";
constexpr char kPrefix[] = "unet.";

bool Matches(const std::string& path, const std::string& target) {
  return path == target || absl::EndsWith(path, absl::StrCat(".", target));
}

struct KeyPart {
  std::string path;
  enum { kDown, kUp, kAlpha } part;
};

// The layer and the part that a key of an adapter file names.
std::optional<KeyPart> ParseKey(absl::string_view key) {
  if (!absl::ConsumePrefix(&key, kPrefix)) return std::nullopt;
  for (const absl::string_view suffix : {".lora_A.weight", ".lora.down.weight"}) {
    if (absl::EndsWith(key, suffix))
      return KeyPart{std::string(absl::StripSuffix(key, suffix)), KeyPart::kDown};
  }
  for (const absl::string_view suffix : {".lora_B.weight", ".lora.up.weight"}) {
    if (absl::EndsWith(key, suffix))
      return KeyPart{std::string(absl::StripSuffix(key, suffix)), KeyPart::kUp};
  }
  if (absl::EndsWith(key, ".alpha"))
    return KeyPart{std::string(absl::StripSuffix(key, ".alpha")), KeyPart::kAlpha};
  return std::nullopt;
}

// "unet.lora_alpha" of the JSON object in the metadata; none where the file has no metadata.
absl::StatusOr<std::optional<double>> MetadataAlpha(const std::map<std::string, std::string>& metadata,
                                                    absl::string_view name) {
  const auto found = metadata.find(kMetadataKey);
  if (found == metadata.end()) return std::nullopt;
  const nlohmann::json config = nlohmann::json::parse(found->second, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", kMetadataKey, " is not a JSON object"));
  }
  for (const char* pattern : {"rank_pattern", "alpha_pattern"}) {
    const auto entry = config.find(absl::StrCat(kPrefix, pattern));
    if (entry != config.end() && !entry->empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": ", kMetadataKey, ": unsupported key unet.", pattern));
    }
  }
  const auto alpha = config.find("unet.lora_alpha");
  if (alpha == config.end()) return std::nullopt;
  if (!alpha->is_number()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", kMetadataKey, ": unet.lora_alpha is not a number"));
  }
  return std::optional<double>(alpha->get<double>());
}

// The layer that each pair belongs to; checks all before anything is changed.
absl::StatusOr<std::vector<std::pair<Linear*, const LoraPair*>>> FindLayers(UNet2DConditionModel& unet,
                                                                            const LoraWeights& weights) {
  const std::map<std::string, Linear*> linears = unet.linears();
  std::vector<std::pair<Linear*, const LoraPair*>> found;
  for (const auto& [path, pair] : weights) {
    const auto linear = linears.find(path);
    if (linear == linears.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the model has no linear layer for the adapter of ", path));
    }
    const Linear& layer = *linear->second;
    if (pair.down.size(1) != layer.in_features() || pair.up.size(0) != layer.out_features()) {
      return absl::InvalidArgumentError(absl::StrCat("adapter of ", path, " is [", pair.up.size(0), ", ",
                                                     pair.down.size(1), "], the layer is [",
                                                     layer.out_features(), ", ", layer.in_features(), "]"));
    }
    found.emplace_back(linear->second, &pair);
  }
  return found;
}

}  // namespace

absl::StatusOr<LoraWeights> InitialLora(UNet2DConditionModel& unet, const LoraOptions& options) {
  if (options.rank < 1)
    return absl::InvalidArgumentError(absl::StrCat("LoRA rank is below 1: ", options.rank));
  const std::map<std::string, Linear*> linears = unet.linears();
  const at::TensorOptions fp32 = at::TensorOptions().dtype(at::kFloat);
  LoraWeights weights;
  for (const std::string& target : options.targets) {
    bool used = false;
    for (const auto& [path, linear] : linears) {
      if (!Matches(path, target)) continue;
      used = true;
      weights[path].alpha = options.alpha > 0.0 ? options.alpha : static_cast<double>(options.rank);
    }
    if (!used)
      return absl::InvalidArgumentError(
          absl::StrCat("no linear layer of the model matches LoRA target ", target));
  }
  uint64_t index = 0;
  for (auto& [path, pair] : weights) {
    const Linear& layer = *linears.at(path);
    auto generator = at::make_generator<at::CPUGeneratorImpl>(Hash64("lora-init", {options.seed, index++}));
    const double bound = 1.0 / std::sqrt(static_cast<double>(layer.in_features()));
    pair.down = at::empty({options.rank, layer.in_features()}, fp32).uniform_(-bound, bound, generator);
    pair.up = at::zeros({layer.out_features(), options.rank}, fp32);
  }
  return weights;
}

absl::StatusOr<LoraWeights> ReadLora(const std::filesystem::path& path) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::shared_ptr<SafetensorsFile> file, SafetensorsFile::Open(path));
  RSIDIFF_ASSIGN_OR_RETURN(const NamedTensors tensors, file->GetAll());
  return ParseLora(tensors, file->metadata(), file->path());
}

absl::StatusOr<LoraWeights> ParseLora(const NamedTensors& tensors,
                                      const std::map<std::string, std::string>& metadata,
                                      absl::string_view name) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::optional<double> common_alpha, MetadataAlpha(metadata, name));
  LoraWeights weights;
  for (const auto& [key, tensor] : tensors) {
    const std::optional<KeyPart> part = ParseKey(key);
    if (!part.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": tensor is no part of a UNet's LoRA adapter: ", key));
    }
    if (part->part == KeyPart::kAlpha ? tensor.numel() != 1 : tensor.dim() != 2) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": tensor ", key, " has the unexpected shape [",
                                                     absl::StrJoin(tensor.sizes(), ", "), "]"));
    }
    if (!tensor.is_floating_point()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": tensor ", key, " is not of a floating-point type"));
    }
    LoraPair& pair = weights[part->path];
    if (part->part == KeyPart::kAlpha) {
      pair.alpha = tensor.to(at::kDouble).item<double>();
    } else {
      (part->part == KeyPart::kDown ? pair.down : pair.up) =
          tensor.to(tensor.options().dtype(at::kFloat), /*non_blocking=*/false, /*copy=*/true);
    }
  }
  if (weights.empty()) return absl::InvalidArgumentError(absl::StrCat(name, ": holds no LoRA adapter"));
  for (auto& [path, pair] : weights) {
    if (!pair.down.defined() || !pair.up.defined() || pair.down.size(0) != pair.up.size(1) ||
        pair.down.size(0) == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": the two LoRA tensors of ", path, " do not form a pair"));
    }
    if (common_alpha.has_value()) {
      pair.alpha = *common_alpha;
    } else if (pair.alpha == 0.0) {
      pair.alpha = static_cast<double>(pair.down.size(0));
    }
  }
  return weights;
}

LoraFile ExportLora(const LoraWeights& weights) {
  LoraFile file;
  nlohmann::json config;
  std::vector<std::string> paths;
  for (const auto& [path, pair] : weights) {
    file.tensors.emplace_back(absl::StrCat(kPrefix, path, ".lora_A.weight"), pair.down);
    file.tensors.emplace_back(absl::StrCat(kPrefix, path, ".lora_B.weight"), pair.up);
    paths.push_back(path);
    config["unet.r"] = pair.down.size(0);
    config["unet.lora_alpha"] = pair.alpha;
  }
  config["unet.target_modules"] = paths;
  file.metadata = {{"format", "pt"}, {kMetadataKey, config.dump()}};
  return file;
}

absl::Status AttachLora(UNet2DConditionModel& unet, const LoraWeights& weights) {
  RSIDIFF_ASSIGN_OR_RETURN(const auto layers, FindLayers(unet, weights));
  for (const auto& [linear, pair] : layers) {
    // A copy always: training changes the attached tensors in place.
    linear->lora_down = pair->down.to(linear->weight.options().requires_grad(false), false, /*copy=*/true);
    linear->lora_up = pair->up.to(linear->weight.options().requires_grad(false), false, /*copy=*/true);
    linear->lora_scale = pair->scale();
  }
  return absl::OkStatus();
}

NamedTensors AttachedLora(UNet2DConditionModel& unet) {
  NamedTensors attached;
  for (const auto& [path, linear] : unet.linears()) {
    if (!linear->lora_down.defined()) continue;
    attached.emplace_back(absl::StrCat(path, ".lora_A.weight"), linear->lora_down);
    attached.emplace_back(absl::StrCat(path, ".lora_B.weight"), linear->lora_up);
  }
  return attached;
}

LoraWeights WithValues(const LoraWeights& weights, const NamedTensors& trained) {
  LoraWeights result = weights;
  for (const auto& [name, tensor] : trained) {
    const absl::string_view down = ".lora_A.weight";
    const absl::string_view up = ".lora_B.weight";
    if (absl::EndsWith(name, down)) result.at(std::string(absl::StripSuffix(name, down))).down = tensor;
    if (absl::EndsWith(name, up)) result.at(std::string(absl::StripSuffix(name, up))).up = tensor;
  }
  return result;
}

absl::StatusOr<NamedTensors> MergeLora(UNet2DConditionModel& unet, const LoraWeights& weights) {
  RSIDIFF_ASSIGN_OR_RETURN(const auto layers, FindLayers(unet, weights));
  c10::NoGradGuard no_grad;
  NamedTensors originals;
  for (const auto& [linear, pair] : layers) {
    originals.emplace_back(absl::StrCat(linear->path, ".weight"), linear->weight.clone());
    const at::Tensor delta = at::mm(pair->up.to(at::kFloat), pair->down.to(at::kFloat)) * pair->scale();
    linear->weight.copy_(linear->weight.to(at::kFloat) + delta.to(linear->weight.device()));
  }
  return originals;
}

}  // namespace rsidiff::worker
