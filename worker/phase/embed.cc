#include "worker/phase/embed.h"

#include <algorithm>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "worker/model/clip_text_model.h"
#include "worker/phase/task_parts.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {
namespace {

// Prompts a forward pass. Fixed, because a matrix product's bits depend on its shape.
constexpr int kBatch = 16;

// [prompts, D] fp32 on the CPU, rows of length 1.
absl::StatusOr<at::Tensor> Encode(const std::vector<std::string>& prompts,
                                  StableDiffusionPipeline& pipeline) {
  const ClipTextModel& encoder = pipeline.text_encoder();
  const int64_t length = encoder.config().max_position_embeddings;
  at::Tensor ids = at::empty({static_cast<int64_t>(prompts.size()), length}, at::kLong);
  int64_t* out = ids.mutable_data_ptr<int64_t>();
  for (const std::string& prompt : prompts) {
    const PaddedTokens tokens = pipeline.tokenizer().EncodePadded(prompt, static_cast<int>(length));
    out = std::copy(tokens.ids.begin(), tokens.ids.end(), out);
  }
  const at::Tensor pooled = encoder.Forward(ids).pooled.to(at::kCPU, at::kFloat);
  const at::Tensor norms = pooled.norm(2, {1}, /*keepdim=*/true);
  const at::Tensor sound = at::isfinite(norms).logical_and(norms > 0);
  for (int64_t row = 0; row < norms.size(0); ++row) {
    if (sound[row].item<bool>()) continue;
    return absl::DataLossError(
        absl::StrCat("text embedding of prompt \"", Excerpt(prompts[static_cast<size_t>(row)], 200), "\" ",
                     norms[row].item<float>() == 0 ? "has zero length" : "is not finite"));
  }
  return pooled / norms;
}

}  // namespace

absl::StatusOr<v1::EmbedResult> Embed(const v1::TaskPayload& payload, PhaseContext& context,
                                      TaskControl& control) {
  RSIDIFF_ASSIGN_OR_RETURN(StableDiffusionPipeline * pipeline, context.models.Pipeline(payload));
  const std::vector<std::string> prompts(payload.embed().prompts().begin(), payload.embed().prompts().end());
  if (prompts.empty()) return absl::InvalidArgumentError("task has no prompts");
  std::vector<at::Tensor> batches;
  TaskParts parts(control, static_cast<int64_t>((prompts.size() + kBatch - 1) / kBatch));
  for (size_t begin = 0; begin < prompts.size(); begin += kBatch) {
    RSIDIFF_RETURN_IF_ERROR(parts.Begin());
    const size_t end = std::min(prompts.size(), begin + kBatch);
    RSIDIFF_ASSIGN_OR_RETURN(batches.emplace_back(), Encode({prompts.begin() + static_cast<ptrdiff_t>(begin),
                                                             prompts.begin() + static_cast<ptrdiff_t>(end)},
                                                            *pipeline));
  }
  RSIDIFF_ASSIGN_OR_RETURN(at::Tensor empty, Encode({""}, *pipeline));
  RSIDIFF_ASSIGN_OR_RETURN(std::string file, SerializeSafetensors({{"embeddings", at::cat(batches)},
                                                                   {"empty", empty[0].contiguous()}},
                                                                  {{"format", "pt"}}));
  v1::EmbedResult result;
  RSIDIFF_ASSIGN_OR_RETURN(*result.mutable_embeddings(), context.store.Put(file));
  return result;
}

}  // namespace rsidiff::worker
