#include "worker/scorer/clip_definition.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"

namespace rsidiff::worker {
namespace {

constexpr int64_t kTokens = 49408;
constexpr int64_t kBegin = kTokens - 2;
constexpr int64_t kEnd = kTokens - 1;
// Old configurations carry 2 and mean the highest id, which is the end token's.
constexpr int64_t kLegacyEnd = 2;

ClipConfig MakeConfig(const ClipEncoderConfig& text, const ClipEncoderConfig& vision,
                      int64_t projection_dim) {
  ClipConfig config;
  config.text = {text, kTokens, 77, kEnd};
  config.vision = {vision, 224, 14};
  config.projection_dim = projection_dim;
  return config;
}

}  // namespace

absl::Status CheckScorerName(absl::string_view found, absl::string_view wanted) {
  if (found.empty() || found == wanted) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("config.json: these are the weights of ", found, ", not of ", wanted));
}

void ConfigDifferences::CompareEncoders(const std::string& tower, const ClipEncoderConfig& found,
                                        const ClipEncoderConfig& wanted) {
  Compare(tower + ".hidden_size", found.hidden_size, wanted.hidden_size);
  Compare(tower + ".intermediate_size", found.intermediate_size, wanted.intermediate_size);
  Compare(tower + ".num_hidden_layers", found.num_hidden_layers, wanted.num_hidden_layers);
  Compare(tower + ".num_attention_heads", found.num_attention_heads, wanted.num_attention_heads);
  Compare(tower + ".layer_norm_eps", found.layer_norm_eps, wanted.layer_norm_eps);
  if (found.hidden_act != wanted.hidden_act) {
    list_.push_back(absl::StrCat(tower, ".hidden_act is not ",
                                 wanted.hidden_act == ClipActivation::kGelu ? "gelu" : "quick_gelu"));
  }
}

void ConfigDifferences::CompareVision(const ClipVisionConfig& found, const ClipVisionConfig& wanted) {
  CompareEncoders("vision_config", found.encoder, wanted.encoder);
  Compare("vision_config.image_size", found.image_size, wanted.image_size);
  Compare("vision_config.patch_size", found.patch_size, wanted.patch_size);
}

absl::Status ConfigDifferences::ToStatus() const {
  if (list_.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("config.json: ", absl::StrJoin(list_, "; ")));
}

absl::Status CheckClipConfig(const ClipConfig& found, const ClipConfig& wanted, absl::string_view scorer) {
  RSIDIFF_RETURN_IF_ERROR(CheckScorerName(found.scorer, scorer));
  ConfigDifferences differences;
  differences.Compare("projection_dim", found.projection_dim, wanted.projection_dim);
  differences.CompareEncoders("text_config", found.text.encoder, wanted.text.encoder);
  differences.Compare("text_config.vocab_size", found.text.vocab_size, wanted.text.vocab_size);
  differences.Compare("text_config.max_position_embeddings", found.text.max_position_embeddings,
                      wanted.text.max_position_embeddings);
  if (found.text.eos_token_id != kLegacyEnd) {
    differences.Compare("text_config.eos_token_id", found.text.eos_token_id, wanted.text.eos_token_id);
  }
  differences.CompareVision(found.vision, wanted.vision);
  return differences.ToStatus();
}

absl::Status CheckClipTokenizer(const ClipTokenizer& tokenizer, TextCleaning cleaning) {
  if (tokenizer.cleaning() != cleaning) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer_config.json: text_cleaning is not ",
                     cleaning == TextCleaning::kOpenClip ? "open_clip" : "transformers"));
  }
  if (tokenizer.vocab_size() == kTokens && tokenizer.bos_id() == kBegin && tokenizer.eos_id() == kEnd) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("tokenizer: ", tokenizer.vocab_size(), " tokens, begin ",
                                                 tokenizer.bos_id(), ", end ", tokenizer.eos_id(),
                                                 "; CLIP's own has ", kTokens, ", ", kBegin, " and ", kEnd));
}

ClipConfig VitH14Config() {
  return MakeConfig({1024, 4096, 24, 16, 1e-5, ClipActivation::kGelu},
                    {1280, 5120, 32, 16, 1e-5, ClipActivation::kGelu}, 1024);
}

ClipConfig VitL14Config() {
  return MakeConfig({768, 3072, 12, 12, 1e-5, ClipActivation::kQuickGelu},
                    {1024, 4096, 24, 16, 1e-5, ClipActivation::kQuickGelu}, 768);
}

}  // namespace rsidiff::worker
