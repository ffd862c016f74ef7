#include "worker/scorer/image_reward.h"

#include <ATen/Functions.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "worker/scorer/clip_definition.h"

namespace rsidiff::worker {
namespace {

constexpr char kName[] = "imagereward";

ClipPreprocessing OwnPreprocessing(int64_t image_size) {
  ClipPreprocessing preprocessing;
  preprocessing.crop_rounding = CropRounding::kToEven;
  preprocessing.shortest_edge = image_size;
  preprocessing.output_size = {image_size, image_size};
  return preprocessing;
}

absl::Status CheckPinned(const BlipRewardConfig& found) {
  RSIDIFF_RETURN_IF_ERROR(CheckScorerName(found.scorer, kName));
  const BlipRewardConfig wanted = ImageRewardConfig();
  ConfigDifferences differences;
  differences.CompareVision(found.vision, wanted.vision);
  differences.CompareEncoders("text_config", found.text.encoder, wanted.text.encoder);
  differences.Compare("text_config.vocab_size", found.text.vocab_size, wanted.text.vocab_size);
  differences.Compare("text_config.max_position_embeddings", found.text.max_position_embeddings,
                      wanted.text.max_position_embeddings);
  differences.Compare("head_sizes", absl::StrJoin(found.head_sizes, ", "),
                      absl::StrJoin(wanted.head_sizes, ", "));
  differences.Compare("max_text_length", found.max_text_length, wanted.max_text_length);
  differences.Compare("reward_mean", found.reward_mean, wanted.reward_mean);
  differences.Compare("reward_std", found.reward_std, wanted.reward_std);
  return differences.ToStatus();
}

absl::StatusOr<ClipPreprocessing> LoadPreprocessing(const std::filesystem::path& folder, int64_t image_size,
                                                    ImageReward::Shape shape) {
  const ClipPreprocessing own = OwnPreprocessing(image_size);
  if (!std::filesystem::exists(folder / "preprocessor_config.json")) return own;
  RSIDIFF_ASSIGN_OR_RETURN(const ClipPreprocessing found, LoadClipPreprocessing(folder, own));
  if (shape == ImageReward::Shape::kPinned) {
    RSIDIFF_RETURN_IF_ERROR(Annotate(CheckSamePreprocessing(found, own), folder.string()));
  }
  if (!(found.output_size == ClipPreprocessing::Size{image_size, image_size})) {
    return absl::FailedPreconditionError(absl::StrCat(
        "preprocessor_config.json makes pictures of another size than image_size in config.json: ",
        found.output_size.height, "x", found.output_size.width, ", not ", image_size, "x", image_size));
  }
  return found;
}

}  // namespace

ImageReward::ImageReward(std::shared_ptr<const BlipRewardModel> model,
                         std::unique_ptr<WordPieceTokenizer> tokenizer, ClipPreprocessor preprocessor,
                         int64_t batch_size)
    : model_(std::move(model)),
      tokenizer_(std::move(tokenizer)),
      preprocessor_(std::move(preprocessor)),
      batch_size_(batch_size) {}

absl::StatusOr<std::unique_ptr<ImageReward>> ImageReward::Load(const std::filesystem::path& folder,
                                                               const std::filesystem::path& vocabulary,
                                                               Shape shape, ScorerParts& parts) {
  const int64_t batch_size = parts.options().batch_size;
  if (batch_size < 1) return absl::InvalidArgumentError(absl::StrCat("batch size below 1: ", batch_size));
  RSIDIFF_ASSIGN_OR_RETURN(const BlipRewardConfig config, LoadBlipRewardConfig(folder));
  if (shape == Shape::kPinned) RSIDIFF_RETURN_IF_ERROR(Annotate(CheckPinned(config), folder.string()));
  RSIDIFF_ASSIGN_OR_RETURN(const ClipPreprocessing preprocessing,
                           LoadPreprocessing(folder, config.vision.image_size, shape));
  // BLIP adds both to BERT's vocabulary; ImageReward's prompts begin with neither.
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<WordPieceTokenizer> tokenizer,
                           WordPieceTokenizer::Load(vocabulary, {"[DEC]", "[ENC]"}));
  const int64_t tokens = tokenizer->vocab_size();
  if (tokens > config.text.vocab_size || (shape == Shape::kPinned && tokens != config.text.vocab_size)) {
    return absl::FailedPreconditionError(
        absl::StrCat((vocabulary / "vocab.txt").string(), " and [DEC], [ENC] have ", tokens,
                     " tokens, vocab_size in config.json is ", config.text.vocab_size));
  }
  RSIDIFF_ASSIGN_OR_RETURN(std::shared_ptr<const BlipRewardModel> model, parts.LoadReward(folder));
  return std::unique_ptr<ImageReward>(
      new ImageReward(std::move(model), std::move(tokenizer), ClipPreprocessor(preprocessing), batch_size));
}

absl::StatusOr<std::vector<double>> ImageReward::Score(ScoreBatch& batch) {
  c10::InferenceMode inference;
  const BlipRewardConfig& config = model_->config();
  const int64_t count = batch.images().size();
  const int64_t length = config.max_text_length;
  BlipRewardModel::Input input;
  input.pixels = at::empty({batch_size_, 3, config.vision.image_size, config.vision.image_size}, at::kFloat);
  input.ids = at::empty({batch_size_, length}, at::kLong);
  input.mask = at::empty({batch_size_, length}, at::kBool);
  std::vector<double> scores;
  for (int64_t begin = 0; begin < count; begin += batch_size_) {
    const int64_t rows = std::min(batch_size_, count - begin);
    input.pixels.zero_();
    input.ids.zero_();
    input.mask.fill_(true);
    for (int64_t row = 0; row < rows; ++row) {
      absl::StatusOr<at::Tensor> pixels = preprocessor_.Preprocess(batch.images()[begin + row]);
      if (!pixels.ok()) return Annotate(pixels.status(), absl::StrCat("picture ", begin + row));
      input.pixels[row].copy_(*pixels);
      const PaddedTokens tokens =
          tokenizer_->EncodePadded(batch.prompts()[begin + row], static_cast<int>(length));
      std::copy(tokens.ids.begin(), tokens.ids.end(), input.ids[row].mutable_data_ptr<int64_t>());
      input.mask[row].narrow(0, tokens.used, length - tokens.used).fill_(false);
    }
    const at::Tensor rewards = model_->Rewards(input);
    for (int64_t row = 0; row < rows; ++row) scores.push_back(rewards[row].item<double>());
  }
  return scores;
}

absl::StatusOr<at::Tensor> ImageReward::ImageFeatures(ScoreBatch&) {
  return absl::FailedPreconditionError("has no embedding of the picture alone");
}

}  // namespace rsidiff::worker
