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

namespace rsidiff::worker {

/// ImageReward (Xu et al., arXiv 2304.05977; THUDM/ImageReward): what people prefer, in standard deviations
/// of the authors' own scores. Pictures are resized in Pillow's arithmetic and cropped as torchvision does;
/// prompts are cut at 35 tokens of BERT's tokenizer. Each picture goes through the network with its prompt.
class ImageReward final : public Scorer {
 public:
  struct Options {
    ComputeOptions compute;
    /// Pictures a forward pass; the last pass is padded to it, so that no score depends on how many came.
    int64_t batch_size = 8;
    std::filesystem::path tokenizer;  // with vocab.txt
  };
  enum class Shape { kAny, kPinned };  // kPinned: the configuration has to be ImageReward's own

  /// Reads BlipRewardModel's folder, vocab.txt, and, where there, preprocessor_config.json. Errors name the
  /// file and the key or tensor.
  static absl::StatusOr<std::unique_ptr<ImageReward>> Load(const std::filesystem::path& folder,
                                                           const Options& options, Shape shape);

  absl::StatusOr<std::vector<double>> Score(ScoreBatch& batch) override;

  /// FAILED_PRECONDITION: picture and prompt meet inside the network, so there is no embedding of the picture
  /// alone.
  absl::StatusOr<at::Tensor> ImageFeatures(ScoreBatch& batch) override;

 private:
  ImageReward(std::unique_ptr<BlipRewardModel> model, std::unique_ptr<WordPieceTokenizer> tokenizer,
              ClipPreprocessor preprocessor, int64_t batch_size);

  std::unique_ptr<BlipRewardModel> model_;
  std::unique_ptr<WordPieceTokenizer> tokenizer_;
  ClipPreprocessor preprocessor_;
  int64_t batch_size_;
};

}  // namespace rsidiff::worker
