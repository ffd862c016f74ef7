#include "worker/scorer/scorer_parts.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"

namespace rsidiff::worker {
namespace {

namespace fs = std::filesystem;

// Two spellings of one path are one.
std::string Canonical(const fs::path& path) {
  std::error_code error;
  const fs::path canonical = fs::canonical(path, error);
  return error ? path.string() : canonical.string();
}

// What decides which model a folder holds: its configuration and weights, wherever they lie.
std::string ModelKey(const fs::path& folder) {
  std::set<std::string> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name != "config.json" && !absl::StrContains(name, ".safetensors")) continue;
    files.insert(absl::StrCat(name, "=", Canonical(entry->path())));
  }
  return absl::StrJoin(files, "\n");
}

template <typename Kept>
auto Find(const Kept& kept, const std::string& key) {
  const auto found = kept.find(key);
  return found == kept.end() ? nullptr : found->second.lock();
}

template <typename Kept, typename Part>
void Keep(Kept& kept, const std::string& key, const std::shared_ptr<Part>& part) {
  for (auto entry = kept.begin(); entry != kept.end();) {
    entry = entry->second.expired() ? kept.erase(entry) : std::next(entry);
  }
  kept[key] = part;
}

}  // namespace

absl::StatusOr<ScorerParts::Clip> ScorerParts::LoadClip(const CheckedClip& checked) {
  const std::string key = ModelKey(checked.folders.model);
  Clip clip;
  clip.model = Find(models_, key);
  if (clip.model == nullptr) {
    RSIDIFF_ASSIGN_OR_RETURN(clip.model, ClipModel::Load(checked.folders.model, options_.compute));
    Keep(models_, key, clip.model);
  }
  RSIDIFF_ASSIGN_OR_RETURN(clip.images, Images(key, checked, clip.model));
  if (checked.tokenizer == nullptr) return clip;
  const std::string prompts_key = absl::StrCat(key, "\n", Canonical(checked.folders.tokenizer), "\n",
                                               static_cast<int>(checked.tokenizer->cleaning()));
  clip.prompts = Find(prompts_, prompts_key);
  if (clip.prompts == nullptr) {
    RSIDIFF_ASSIGN_OR_RETURN(clip.prompts, PromptEncoder::Create(clip.model, checked.tokenizer));
    Keep(prompts_, prompts_key, clip.prompts);
  }
  return clip;
}

absl::StatusOr<std::shared_ptr<const ImageEncoder>> ScorerParts::Images(
    const std::string& model_key, const CheckedClip& checked, std::shared_ptr<const ClipModel> model) {
  encoders_.erase(std::remove_if(encoders_.begin(), encoders_.end(),
                                 [](const Encoder& encoder) { return encoder.images.expired(); }),
                  encoders_.end());
  for (const Encoder& encoder : encoders_) {
    if (encoder.model_key == model_key &&
        CheckSamePreprocessing(encoder.preprocessing, checked.preprocessing).ok()) {
      return encoder.images.lock();
    }
  }
  RSIDIFF_ASSIGN_OR_RETURN(
      std::shared_ptr<const ImageEncoder> images,
      ImageEncoder::Create(std::move(model), ClipPreprocessor(checked.preprocessing), options_.batch_size));
  encoders_.push_back({model_key, checked.preprocessing, images});
  return images;
}

absl::StatusOr<std::shared_ptr<const BlipRewardModel>> ScorerParts::LoadReward(const fs::path& folder) {
  const std::string key = ModelKey(folder);
  if (std::shared_ptr<const BlipRewardModel> found = Find(rewards_, key)) return found;
  RSIDIFF_ASSIGN_OR_RETURN(std::shared_ptr<const BlipRewardModel> model,
                           BlipRewardModel::Load(folder, options_.compute));
  Keep(rewards_, key, model);
  return model;
}

std::shared_ptr<const void> ScorerParts::Loaded(const fs::path& folder) const {
  const std::string key = ModelKey(folder);
  if (std::shared_ptr<const ClipModel> model = Find(models_, key)) return model;
  return Find(rewards_, key);
}

}  // namespace rsidiff::worker
