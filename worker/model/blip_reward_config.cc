#include "worker/model/blip_reward_config.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/tensor/json_config.h"

namespace rsidiff::worker {
namespace {

constexpr size_t kHeadLayers = 5;

absl::StatusOr<ClipVisionConfig> ReadVision(JsonConfig& json, const ClipVisionConfig& defaults) {
  ClipVisionConfig config;
  config.encoder = ReadClipEncoderConfig(json, defaults.encoder);
  config.image_size = json.Size("image_size", defaults.image_size);
  config.patch_size = json.Size("patch_size", defaults.patch_size);
  if (config.patch_size > config.image_size) {
    json.AddProblem(
        absl::StrCat("patch_size is above image_size: ", config.patch_size, ", ", config.image_size));
  }
  RSIDIFF_RETURN_IF_ERROR(json.CheckAllRead());
  return config;
}

absl::StatusOr<BlipTextConfig> ReadText(JsonConfig& json, const BlipTextConfig& defaults) {
  BlipTextConfig config;
  config.encoder = ReadClipEncoderConfig(json, defaults.encoder);
  config.vocab_size = json.Size("vocab_size", defaults.vocab_size);
  config.max_position_embeddings = json.Size("max_position_embeddings", defaults.max_position_embeddings);
  RSIDIFF_RETURN_IF_ERROR(json.CheckAllRead());
  return config;
}

void CheckHead(const BlipRewardConfig& config, JsonConfig& json) {
  const std::vector<int64_t>& sizes = config.head_sizes;
  const auto possible = [](int64_t size) { return size >= 1 && size <= JsonConfig::kMaxSize; };
  if (sizes.size() != kHeadLayers || sizes.back() != 1 ||
      !std::all_of(sizes.begin(), sizes.end(), possible)) {
    json.AddProblem(absl::StrCat("head_sizes should be ", kHeadLayers, " positive sizes, the last one 1"));
  }
  if (!std::isfinite(config.reward_mean)) json.AddProblem("reward_mean is not finite");
  if (!(config.reward_std > 0) || !std::isfinite(config.reward_std)) {
    json.AddProblem(absl::StrCat("reward_std should be above 0, not ", config.reward_std));
  }
}

}  // namespace

BlipRewardConfig ImageRewardConfig() {
  BlipRewardConfig config;
  config.vision = {{1024, 4096, 24, 16, 1e-6, ClipActivation::kGelu}, 224, 16};
  config.text = {{768, 3072, 12, 12, 1e-12, ClipActivation::kGelu}, 30524, 512};
  config.head_sizes = {1024, 128, 64, 16, 1};
  config.max_text_length = 35;
  config.reward_mean = 0.16717362830052426;
  config.reward_std = 1.0333394966054072;
  return config;
}

absl::StatusOr<BlipRewardConfig> LoadBlipRewardConfig(const std::filesystem::path& folder) {
  const BlipRewardConfig defaults = ImageRewardConfig();
  RSIDIFF_ASSIGN_OR_RETURN(JsonConfig json, JsonConfig::Load(folder / "config.json"));
  BlipRewardConfig config;
  json.RequireValue("model_type", {"\"image_reward\""});
  config.scorer = json.String("_scorer", "");
  config.head_sizes = json.Ints("head_sizes", defaults.head_sizes);
  config.max_text_length = json.Int("max_text_length", defaults.max_text_length);
  config.reward_mean = json.Number("reward_mean", defaults.reward_mean);
  config.reward_std = json.Number("reward_std", defaults.reward_std);
  CheckHead(config, json);
  JsonConfig vision = json.Object("vision_config");
  JsonConfig text = json.Object("text_config");
  RSIDIFF_ASSIGN_OR_RETURN(config.vision, ReadVision(vision, defaults.vision));
  RSIDIFF_ASSIGN_OR_RETURN(config.text, ReadText(text, defaults.text));
  if (config.max_text_length < 2 || config.max_text_length > config.text.max_position_embeddings) {
    json.AddProblem(absl::StrCat("max_text_length should be between 2 and max_position_embeddings, ",
                                 config.text.max_position_embeddings, ", not ", config.max_text_length));
  }
  RSIDIFF_RETURN_IF_ERROR(json.CheckAllRead());
  return config;
}

}  // namespace rsidiff::worker
