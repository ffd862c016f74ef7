#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/blip_reward_model.h"
#include "worker/model/clip_model.h"
#include "worker/scorer/checked_clip.h"
#include "worker/scorer/image_encoder.h"
#include "worker/scorer/prompt_encoder.h"

namespace rsidiff::worker {

/// What scorers share, of one set and of several: one loaded model for equal files, one image encoder for
/// each model and preprocessing, one prompt encoder for each model and tokenizer, however many scorers ask
/// for them. Each is kept for as long as a scorer holds it. Folders whose config.json and weights are links
/// to the same files hold the same model, as in a worker's folders, which are links to artifacts. Not
/// thread-safe.
class ScorerParts {
 public:
  struct Options {
    ComputeOptions compute;
    int64_t batch_size = 8;  // pictures a forward pass, see ImageEncoder
  };
  explicit ScorerParts(const Options& options) : options_(options) {}
  ScorerParts(const ScorerParts&) = delete;
  ScorerParts& operator=(const ScorerParts&) = delete;

  struct Clip {
    std::shared_ptr<const ClipModel> model;
    std::shared_ptr<const ImageEncoder> images;
    std::shared_ptr<PromptEncoder> prompts;  // null where `clip` has no tokenizer
  };
  /// Reads the weights where they are not loaded yet. Errors name the file and the tensor.
  absl::StatusOr<Clip> LoadClip(const CheckedClip& clip);

  /// The same for ImageReward's network.
  absl::StatusOr<std::shared_ptr<const BlipRewardModel>> LoadReward(const std::filesystem::path& folder);

  /// The loaded model of `folder`; null where there is none.
  std::shared_ptr<const void> Loaded(const std::filesystem::path& folder) const;

  const Options& options() const { return options_; }

 private:
  template <typename Part>
  using Kept = std::map<std::string, std::weak_ptr<Part>>;

  absl::StatusOr<std::shared_ptr<const ImageEncoder>> Images(const std::string& model_key,
                                                             const CheckedClip& clip,
                                                             std::shared_ptr<const ClipModel> model);

  struct Encoder {
    std::string model_key;
    ClipPreprocessing preprocessing;
    std::weak_ptr<const ImageEncoder> images;
  };

  Options options_;
  Kept<const ClipModel> models_;
  Kept<const BlipRewardModel> rewards_;
  Kept<PromptEncoder> prompts_;
  std::vector<Encoder> encoders_;
};

}  // namespace rsidiff::worker
