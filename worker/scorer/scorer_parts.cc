#include "worker/scorer/scorer_parts.h"

#include <system_error>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace rsidiff::worker {
namespace {

// Two spellings of one folder are one.
std::string Key(const std::filesystem::path& folder) {
  std::error_code error;
  const std::filesystem::path canonical = std::filesystem::canonical(folder, error);
  return error ? folder.string() : canonical.string();
}

absl::StatusOr<ClipPreprocessing> LoadPreprocessing(const std::filesystem::path& folder,
                                                    const ClipDefinition* definition) {
  if (definition == nullptr) return LoadClipPreprocessing(folder);
  if (!std::filesystem::exists(folder / "preprocessor_config.json")) return definition->preprocessing;
  RSIDIFF_ASSIGN_OR_RETURN(const ClipPreprocessing found,
                           LoadClipPreprocessing(folder, definition->preprocessing));
  absl::Status same = CheckSamePreprocessing(found, definition->preprocessing);
  if (!same.ok()) return Annotate(same, folder.string());
  return found;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ClipModel>> ScorerParts::LoadModel(const std::filesystem::path& folder) {
  std::shared_ptr<const ClipModel>& model = models_[Key(folder)];
  if (model == nullptr) {
    RSIDIFF_ASSIGN_OR_RETURN(model, ClipModel::Load(folder, options_.compute));
  }
  return model;
}

absl::StatusOr<ScorerParts::Clip> ScorerParts::LoadClip(const std::filesystem::path& folder, const Pin& pin) {
  RSIDIFF_ASSIGN_OR_RETURN(const ClipConfig config, LoadClipConfig(folder));
  if (pin.definition != nullptr) {
    const absl::Status same = CheckClipConfig(config, pin.definition->model, pin.scorer);
    if (!same.ok()) return Annotate(same, folder.string());
  }
  RSIDIFF_ASSIGN_OR_RETURN(const ClipPreprocessing preprocessing, LoadPreprocessing(folder, pin.definition));
  Clip clip;
  RSIDIFF_ASSIGN_OR_RETURN(clip.model, LoadModel(folder));
  for (const Encoder& encoder : encoders_) {
    if (encoder.folder == Key(folder) && CheckSamePreprocessing(encoder.preprocessing, preprocessing).ok()) {
      clip.images = encoder.images;
      return clip;
    }
  }
  RSIDIFF_ASSIGN_OR_RETURN(
      clip.images, ImageEncoder::Create(clip.model, ClipPreprocessor(preprocessing), options_.batch_size));
  encoders_.push_back({Key(folder), preprocessing, clip.images});
  return clip;
}

absl::StatusOr<std::shared_ptr<PromptEncoder>> ScorerParts::LoadPrompts(const TextSource& source,
                                                                        const Pin& pin) {
  const TextCleaning cleaning =
      pin.definition == nullptr ? TextCleaning::kTransformers : pin.definition->cleaning;
  RSIDIFF_ASSIGN_OR_RETURN(std::shared_ptr<const ClipTokenizer> tokenizer,
                           ClipTokenizer::Load(source.tokenizer, cleaning));
  if (pin.definition != nullptr) {
    const absl::Status same = CheckClipTokenizer(*tokenizer, cleaning);
    if (!same.ok()) return Annotate(same, source.tokenizer.string());
  }
  const std::string key = absl::StrCat(Key(source.clip), "\n", Key(source.tokenizer), "\n",
                                       static_cast<int>(tokenizer->cleaning()));
  std::shared_ptr<PromptEncoder>& encoder = prompts_[key];
  if (encoder != nullptr) return encoder;
  RSIDIFF_ASSIGN_OR_RETURN(const std::shared_ptr<const ClipModel> model, LoadModel(source.clip));
  RSIDIFF_ASSIGN_OR_RETURN(encoder, PromptEncoder::Create(model, tokenizer));
  return encoder;
}

}  // namespace rsidiff::worker
