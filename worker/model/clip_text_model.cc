#include "worker/model/clip_text_model.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <utility>

#include "common/base/status_macros.h"

namespace rsidiff::worker {
namespace {

// What configurations carried before the token's true id was written there.
constexpr int64_t kLegacyEosTokenId = 2;

}  // namespace

ClipTextTransformer::ClipTextTransformer(const ClipTextConfig& config, const ParameterScope& scope)
    : config_(config),
      token_embedding_(
          scope.Take("embeddings.token_embedding.weight", {config.vocab_size, config.encoder.hidden_size})),
      position_embedding_(scope.Take("embeddings.position_embedding.weight",
                                     {config.max_position_embeddings, config.encoder.hidden_size})),
      encoder_(config.encoder, scope.Sub("encoder")),
      final_layer_norm_(scope.Sub("final_layer_norm"), config.encoder.hidden_size,
                        config.encoder.layer_norm_eps) {}

at::Tensor ClipTextTransformer::EndOfTextPositions(const at::Tensor& ids) const {
  if (config_.eos_token_id == kLegacyEosTokenId) return ids.argmax(1);
  return ids.eq(config_.eos_token_id).to(at::kInt).argmax(1);
}

ClipTextOutput ClipTextTransformer::Forward(const at::Tensor& ids) const {
  TORCH_CHECK(ids.dim() == 2 && ids.size(1) >= 1 && ids.size(1) <= config_.max_position_embeddings,
              "token ids should be [N, 1..", config_.max_position_embeddings, "], not ", ids.sizes());
  at::Tensor x = at::embedding(token_embedding_, ids) + position_embedding_.narrow(0, 0, ids.size(1));
  ClipEncoder::Output encoded = encoder_.Forward(std::move(x), AttentionMask::kCausal);
  at::Tensor last = final_layer_norm_(encoded.last);
  at::Tensor pooled = last.index({at::arange(ids.size(0), ids.options()), EndOfTextPositions(ids)});
  return {std::move(last), std::move(pooled), std::move(encoded.penultimate)};
}

ClipTextModel::ClipTextModel(const ClipTextConfig& config, const ComputeOptions& options,
                             ClipTextTransformer transformer, Parameters parameters)
    : config_(config),
      options_(options),
      transformer_(std::move(transformer)),
      parameters_(std::move(parameters)) {}

absl::StatusOr<std::unique_ptr<ClipTextModel>> ClipTextModel::Load(const std::filesystem::path& folder,
                                                                   const ComputeOptions& options) {
  RSIDIFF_ASSIGN_OR_RETURN(const ClipTextConfig config, LoadClipTextConfig(folder));
  RSIDIFF_ASSIGN_OR_RETURN(std::unique_ptr<ParameterLoader> loader, ParameterLoader::Open(folder, options));
  // transformers 5 saves this class without the prefix, earlier ones with it.
  const bool prefixed = loader->Has("text_model.embeddings.token_embedding.weight");
  ClipTextTransformer transformer(config, prefixed ? loader->root().Sub("text_model") : loader->root());
  RSIDIFF_ASSIGN_OR_RETURN(Parameters parameters, loader->Finish({"embeddings.position_ids"}));
  return std::unique_ptr<ClipTextModel>(
      new ClipTextModel(config, options, std::move(transformer), std::move(parameters)));
}

}  // namespace rsidiff::worker
