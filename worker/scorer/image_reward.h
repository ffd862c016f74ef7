#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "common/text/wordpiece_tokenizer.h"
#include "worker/model/blip_reward_model.h"
#include "worker/scorer/clip_preprocessor.h"
#include "worker/scorer/scorer.h"
#include "worker/scorer/scorer_parts.h"

namespace rsidiff::worker {

/// ImageReward (Xu et al., arXiv 2304.05977; THUDM/ImageReward): what people prefer, in standard deviations
/// of the authors' own scores. Pictures are resized in Pillow's arithmetic and cropped as torchvision does;
/// prompts are cut at 35 tokens of BERT's tokenizer. Each picture goes through the network with its prompt.
class ImageReward final : public Scorer {
 public:
  enum class Shape { kAny, kPinned };  // kPinned: the configuration has to be ImageReward's own

  /// Reads config.json of `folder`, vocab.txt of `vocabulary`, where there preprocessor_config.json, and last
  /// the weights, unless `parts` has them. Errors name the file and the key or tensor. The last forward pass
  /// is padded to the batch size, so that no score depends on how many pictures came.
  static absl::StatusOr<std::unique_ptr<ImageReward>> Load(const std::filesystem::path& folder,
                                                           const std::filesystem::path& vocabulary,
                                                           Shape shape, ScorerParts& parts);

  absl::StatusOr<std::vector<double>> Score(ScoreBatch& batch) override;

  /// FAILED_PRECONDITION: picture and prompt meet inside the network, so there is no embedding of the picture
  /// alone.
  absl::StatusOr<at::Tensor> ImageFeatures(ScoreBatch& batch) override;

 private:
  ImageReward(std::shared_ptr<const BlipRewardModel> model, std::unique_ptr<WordPieceTokenizer> tokenizer,
              ClipPreprocessor preprocessor, int64_t batch_size);

  std::shared_ptr<const BlipRewardModel> model_;
  std::unique_ptr<WordPieceTokenizer> tokenizer_;
  ClipPreprocessor preprocessor_;
  int64_t batch_size_;
};

}  // namespace rsidiff::worker
