#include "worker/model/clip_config.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/tensor/json_config.h"

namespace rsidiff::worker {
namespace {

// More than any CLIP has.
constexpr int64_t kMaxLayers = 1024;

// What transformers writes into every configuration and a forward pass does not look at. Older versions wrote
// the settings of text generation too.
void IgnoreBookkeeping(JsonConfig& json) {
  json.Ignore({"architectures",
               "attention_dropout",
               "dropout",
               "dtype",
               "initializer_factor",
               "initializer_range",
               "torch_dtype",
               "transformers_version",
               "projection_dim",
               "id2label",
               "label2id",
               "finetuning_task",
               "problem_type",
               "return_dict",
               "output_attentions",
               "output_hidden_states",
               "torchscript",
               "use_bfloat16",
               "tf_legacy_loss",
               "is_encoder_decoder",
               "is_decoder",
               "tie_encoder_decoder",
               "tie_word_embeddings",
               "chunk_size_feed_forward",
               "task_specific_params",
               "tokenizer_class",
               "prefix",
               "bos_token_id",
               "pad_token_id",
               "sep_token_id",
               "decoder_start_token_id",
               "gradient_checkpointing"});
  json.Ignore({"bad_words_ids",
               "begin_suppress_tokens",
               "suppress_tokens",
               "diversity_penalty",
               "do_sample",
               "early_stopping",
               "encoder_no_repeat_ngram_size",
               "exponential_decay_length_penalty",
               "forced_bos_token_id",
               "forced_eos_token_id",
               "length_penalty",
               "max_length",
               "min_length",
               "no_repeat_ngram_size",
               "num_beam_groups",
               "num_beams",
               "num_return_sequences",
               "output_scores",
               "remove_invalid_values",
               "repetition_penalty",
               "return_dict_in_generate",
               "temperature",
               "top_k",
               "top_p",
               "typical_p"});
  json.RequireValue("add_cross_attention", {"false", "null"});
  json.RequireValue("cross_attention_hidden_size", {"null"});
  json.RequireValue("pruned_heads", {"{}", "null"});
}

// transformers takes a number or a pair; this tower is square.
int64_t SquareSize(JsonConfig& json, const std::string& key, int64_t fallback) {
  const std::vector<int64_t> sides = json.IntOrInts(key, 2, fallback);
  if (sides[0] != sides[1] || sides[0] < 1 || sides[0] > JsonConfig::kMaxSize) {
    json.AddProblem(absl::StrCat(key, " should be one positive size, not ", sides[0], " x ", sides[1]));
    return 1;
  }
  return sides[0];
}

// The class defaults of transformers' CLIPTextConfig and CLIPVisionConfig.
constexpr ClipEncoderConfig kTextDefaults{512, 2048, 12, 8, 1e-5, ClipActivation::kQuickGelu};
constexpr ClipEncoderConfig kVisionDefaults{768, 3072, 12, 12, 1e-5, ClipActivation::kQuickGelu};

absl::StatusOr<ClipTextConfig> ReadTextConfig(JsonConfig& json) {
  ClipTextConfig config;
  config.encoder = ReadClipEncoderConfig(json, kTextDefaults);
  config.vocab_size = json.Size("vocab_size", 49408);
  config.max_position_embeddings = json.Size("max_position_embeddings", 77);
  config.eos_token_id = json.Int("eos_token_id", 49407);
  json.RequireValue("model_type", {"\"clip_text_model\""});
  IgnoreBookkeeping(json);
  RSIDIFF_RETURN_IF_ERROR(json.CheckAllRead());
  return config;
}

absl::StatusOr<ClipVisionConfig> ReadVisionConfig(JsonConfig& json) {
  ClipVisionConfig config;
  config.encoder = ReadClipEncoderConfig(json, kVisionDefaults);
  config.image_size = SquareSize(json, "image_size", 224);
  config.patch_size = SquareSize(json, "patch_size", 32);
  json.RequireValue("num_channels", {"3"});
  if (config.patch_size > config.image_size) {
    json.AddProblem(
        absl::StrCat("patch_size is above image_size: ", config.patch_size, ", ", config.image_size));
  }
  json.RequireValue("model_type", {"\"clip_vision_model\""});
  json.Ignore({"eos_token_id"});
  IgnoreBookkeeping(json);
  RSIDIFF_RETURN_IF_ERROR(json.CheckAllRead());
  return config;
}

JsonConfig TowerObject(JsonConfig& json, const std::string& tower) {
  const std::string replacement = absl::StrCat(tower, "_config_dict");
  const std::string usual = absl::StrCat(tower, "_config");
  // Both count as read, whichever is used.
  JsonConfig replacing = json.Object(replacement);
  JsonConfig plain = json.Object(usual);
  return json.Has(replacement) ? replacing : plain;
}

}  // namespace

ClipEncoderConfig ReadClipEncoderConfig(JsonConfig& json, const ClipEncoderConfig& defaults) {
  ClipEncoderConfig config;
  config.hidden_size = json.Size("hidden_size", defaults.hidden_size);
  config.intermediate_size = json.Size("intermediate_size", defaults.intermediate_size);
  config.num_hidden_layers = json.Size("num_hidden_layers", defaults.num_hidden_layers, kMaxLayers);
  config.num_attention_heads = json.Size("num_attention_heads", defaults.num_attention_heads);
  config.layer_norm_eps = json.Number("layer_norm_eps", defaults.layer_norm_eps);
  if (config.hidden_size % config.num_attention_heads != 0) {
    json.AddProblem(absl::StrCat("hidden_size is no multiple of num_attention_heads: ", config.hidden_size,
                                 ", ", config.num_attention_heads));
  }
  config.hidden_act = defaults.hidden_act;
  if (!json.Has("hidden_act")) return config;
  absl::StatusOr<ClipActivation> activation = ParseClipActivation(json.RequiredString("hidden_act"));
  if (activation.ok()) {
    config.hidden_act = *activation;
  } else {
    json.AddProblem(absl::StrCat("hidden_act: ", activation.status().message()));
  }
  return config;
}

absl::StatusOr<ClipTextConfig> LoadClipTextConfig(const std::filesystem::path& folder) {
  RSIDIFF_ASSIGN_OR_RETURN(JsonConfig json, JsonConfig::Load(folder / "config.json"));
  return ReadTextConfig(json);
}

absl::StatusOr<ClipConfig> LoadClipConfig(const std::filesystem::path& folder) {
  RSIDIFF_ASSIGN_OR_RETURN(JsonConfig json, JsonConfig::Load(folder / "config.json"));
  ClipConfig config;
  json.RequireValue("model_type", {"\"clip\""});
  config.projection_dim = json.Size("projection_dim", 512);
  JsonConfig text = TowerObject(json, "text");
  JsonConfig vision = TowerObject(json, "vision");
  config.scorer = json.String("_scorer", "");
  json.Ignore({"logit_scale_init_value"});
  IgnoreBookkeeping(json);
  RSIDIFF_RETURN_IF_ERROR(json.CheckAllRead());
  RSIDIFF_ASSIGN_OR_RETURN(config.text, ReadTextConfig(text));
  RSIDIFF_ASSIGN_OR_RETURN(config.vision, ReadVisionConfig(vision));
  return config;
}

}  // namespace rsidiff::worker
