#include "worker/model/open_clip_names.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "worker/model/fused_projection.h"

namespace rsidiff::worker {
namespace {

using NamePair = std::pair<absl::string_view, absl::string_view>;

constexpr NamePair kWhole[] = {
    {"visual.class_embedding", "vision_model.embeddings.class_embedding"},
    {"visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"},
    {"visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"},
    {"visual.ln_pre.weight", "vision_model.pre_layrnorm.weight"},
    {"visual.ln_pre.bias", "vision_model.pre_layrnorm.bias"},
    {"visual.ln_post.weight", "vision_model.post_layernorm.weight"},
    {"visual.ln_post.bias", "vision_model.post_layernorm.bias"},
    {"token_embedding.weight", "text_model.embeddings.token_embedding.weight"},
    {"positional_embedding", "text_model.embeddings.position_embedding.weight"},
    {"ln_final.weight", "text_model.final_layer_norm.weight"},
    {"ln_final.bias", "text_model.final_layer_norm.bias"},
};

constexpr NamePair kTransposed[] = {
    {"visual.proj", "visual_projection.weight"},
    {"text_projection", "text_projection.weight"},
};

constexpr NamePair kBlocks[] = {
    {"visual.transformer.resblocks.", "vision_model.encoder.layers."},
    {"transformer.resblocks.", "text_model.encoder.layers."},
};

constexpr NamePair kInBlock[] = {
    {"ln_1", "layer_norm1"},   {"attn.out_proj", "self_attn.out_proj"},
    {"ln_2", "layer_norm2"},   {"mlp.c_fc", "mlp.fc1"},
    {"mlp.c_proj", "mlp.fc2"},
};

/// `rest` is "N.MODULE.LEAF", behind a block prefix; `stem` is transformers' prefix.
absl::StatusOr<NamedTensors> MapInBlock(const std::string& name, absl::string_view rest,
                                        absl::string_view stem, const at::Tensor& tensor) {
  const size_t dot = rest.find('.');
  if (dot == absl::string_view::npos) return NamedTensors{{name, tensor}};
  const std::string layer = absl::StrCat(stem, rest.substr(0, dot));
  const absl::string_view inside = rest.substr(dot + 1);
  if (inside == "attn.in_proj_weight" || inside == "attn.in_proj_bias") {
    return SplitFusedProjection(name, tensor, absl::StrCat(layer, ".self_attn"),
                                absl::StripPrefix(inside, "attn.in_proj_"));
  }
  for (const auto& [theirs, ours] : kInBlock) {
    absl::string_view leaf = inside;
    if (absl::ConsumePrefix(&leaf, theirs) && (leaf == ".weight" || leaf == ".bias")) {
      return NamedTensors{{absl::StrCat(layer, ".", ours, leaf), tensor}};
    }
  }
  return NamedTensors{{name, tensor}};
}

}  // namespace

absl::StatusOr<NamedTensors> MapOpenClipTensor(const std::string& name, const at::Tensor& tensor) {
  for (const auto& [theirs, ours] : kWhole) {
    if (name == theirs) return NamedTensors{{std::string(ours), tensor}};
  }
  for (const auto& [theirs, ours] : kTransposed) {
    if (name != theirs) continue;
    if (tensor.dim() != 2) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, " should be a matrix, not [", absl::StrJoin(tensor.sizes(), ", "), "]"));
    }
    return NamedTensors{{std::string(ours), tensor.t().contiguous()}};
  }
  for (const auto& [theirs, ours] : kBlocks) {
    if (absl::StartsWith(name, theirs)) {
      return MapInBlock(name, absl::StripPrefix(name, theirs), ours, tensor);
    }
  }
  return NamedTensors{{name, tensor}};
}

}  // namespace rsidiff::worker
