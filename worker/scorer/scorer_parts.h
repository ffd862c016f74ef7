#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/clip_tokenizer.h"
#include "worker/model/clip_model.h"
#include "worker/scorer/clip_definition.h"
#include "worker/scorer/image_encoder.h"
#include "worker/scorer/prompt_encoder.h"

namespace rsidiff::worker {

/// What scorers share: one loaded model for each folder, one image encoder for each model and preprocessing,
/// one prompt encoder for each model and tokenizer, however many scorers ask for them. Not thread-safe.
class ScorerParts {
 public:
  struct Options {
    ComputeOptions compute;
    int64_t batch_size = 8;
  };
  explicit ScorerParts(const Options& options) : options_(options) {}

  struct Clip {
    std::shared_ptr<const ClipModel> model;
    std::shared_ptr<const ImageEncoder> images;
  };
  /// A definition and the name that is pinned to it.
  struct Pin {
    const ClipDefinition* definition = nullptr;  // null: any model, as its folder says
    std::string scorer;
  };
  /// Errors name the file, and the key or tensor. A pinned folder of another shape is refused before its
  /// weights are read, and may do without preprocessor_config.json.
  absl::StatusOr<Clip> LoadClip(const std::filesystem::path& folder, const Pin& pin);

  struct TextSource {
    std::filesystem::path clip;
    std::filesystem::path tokenizer;
  };
  absl::StatusOr<std::shared_ptr<PromptEncoder>> LoadPrompts(const TextSource& source, const Pin& pin);

 private:
  struct Encoder {
    std::string folder;
    ClipPreprocessing preprocessing;
    std::shared_ptr<const ImageEncoder> images;
  };

  absl::StatusOr<std::shared_ptr<const ClipModel>> LoadModel(const std::filesystem::path& folder);

  Options options_;
  std::map<std::string, std::shared_ptr<const ClipModel>> models_;
  std::vector<Encoder> encoders_;
  std::map<std::string, std::shared_ptr<PromptEncoder>> prompts_;
};

}  // namespace rsidiff::worker
