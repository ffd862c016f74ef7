#include "worker/scorer/checked_clip.h"

#include <utility>

#include "common/base/status_macros.h"

namespace rsidiff::worker {
namespace {

absl::StatusOr<ClipPreprocessing> ReadPreprocessing(const std::filesystem::path& folder,
                                                    const ClipDefinition* definition) {
  if (definition == nullptr) return LoadClipPreprocessing(folder);
  if (!std::filesystem::exists(folder / "preprocessor_config.json")) return definition->preprocessing;
  RSIDIFF_ASSIGN_OR_RETURN(const ClipPreprocessing found,
                           LoadClipPreprocessing(folder, definition->preprocessing));
  RSIDIFF_RETURN_IF_ERROR(
      Annotate(CheckSamePreprocessing(found, definition->preprocessing), folder.string()));
  return found;
}

absl::StatusOr<std::shared_ptr<const ClipTokenizer>> ReadTokenizer(const std::filesystem::path& folder,
                                                                   const ClipDefinition* definition) {
  if (definition == nullptr) return ClipTokenizer::Load(folder, TextCleaning::kTransformers);
  RSIDIFF_ASSIGN_OR_RETURN(std::shared_ptr<const ClipTokenizer> tokenizer,
                           ClipTokenizer::Load(folder, definition->cleaning));
  RSIDIFF_RETURN_IF_ERROR(Annotate(CheckClipTokenizer(*tokenizer, definition->cleaning), folder.string()));
  return tokenizer;
}

}  // namespace

absl::StatusOr<CheckedClip> CheckClip(const ClipFolders& folders, const ClipPin& pin) {
  CheckedClip clip;
  clip.folders = folders;
  RSIDIFF_ASSIGN_OR_RETURN(clip.config, LoadClipConfig(folders.model));
  if (pin.definition != nullptr) {
    RSIDIFF_RETURN_IF_ERROR(
        Annotate(CheckClipConfig(clip.config, pin.definition->model, pin.scorer), folders.model.string()));
  }
  RSIDIFF_ASSIGN_OR_RETURN(clip.preprocessing, ReadPreprocessing(folders.model, pin.definition));
  if (!folders.tokenizer.empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(clip.tokenizer, ReadTokenizer(folders.tokenizer, pin.definition));
  }
  return clip;
}

}  // namespace rsidiff::worker
