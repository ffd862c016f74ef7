#include "worker/scorer/prompt_encoder.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/scorer/unit_rows.h"

namespace rsidiff::worker {
namespace {

// On the CPU a prompt goes alone: it costs its own length, not the longest one's, and its bits do not depend
// on which prompts are remembered already. A GPU wants company.
int64_t PromptsAtOnce(const at::Device& device) {
  return device.is_cpu() ? 1 : 64;
}

}  // namespace

PromptEncoder::PromptEncoder(std::shared_ptr<const ClipModel> model,
                             std::shared_ptr<const ClipTokenizer> tokenizer)
    : model_(std::move(model)), tokenizer_(std::move(tokenizer)) {}

absl::StatusOr<std::unique_ptr<PromptEncoder>> PromptEncoder::Create(
    std::shared_ptr<const ClipModel> model, std::shared_ptr<const ClipTokenizer> tokenizer) {
  const int64_t entries = model->config().text.vocab_size;
  if (tokenizer->vocab_size() > entries) {
    return absl::FailedPreconditionError(
        absl::StrCat("the tokenizer has more entries than the text model embeds: ", tokenizer->vocab_size(),
                     ", ", entries));
  }
  return std::unique_ptr<PromptEncoder>(new PromptEncoder(std::move(model), std::move(tokenizer)));
}

at::Tensor PromptEncoder::EncodeMissing(absl::Span<const std::string* const> prompts) const {
  const int64_t length = model_->config().text.max_position_embeddings;
  at::Tensor ids = at::empty({static_cast<int64_t>(prompts.size()), length}, at::kLong);
  int64_t* out = ids.mutable_data_ptr<int64_t>();
  for (const std::string* prompt : prompts) {
    const PaddedTokens tokens = tokenizer_->EncodePadded(*prompt, static_cast<int>(length));
    out = std::copy(tokens.ids.begin(), tokens.ids.end(), out);
  }
  return UnitRows(model_->TextFeatures(ids).to(at::kCPU, at::kFloat));
}

at::Tensor PromptEncoder::Encode(absl::Span<const std::string> prompts) {
  c10::InferenceMode inference;
  if (embeddings_.size() + prompts.size() > kCapacity) embeddings_.clear();
  absl::flat_hash_set<absl::string_view> seen;
  std::vector<const std::string*> missing;
  for (const std::string& prompt : prompts) {
    if (!embeddings_.contains(prompt) && seen.insert(prompt).second) missing.push_back(&prompt);
  }
  const size_t at_once = PromptsAtOnce(model_->options().device);
  for (size_t begin = 0; begin < missing.size(); begin += at_once) {
    const auto group = absl::MakeConstSpan(missing).subspan(begin, at_once);
    const at::Tensor rows = EncodeMissing(group);
    for (size_t i = 0; i < group.size(); ++i) embeddings_.emplace(*group[i], rows[i].clone());
  }
  std::vector<at::Tensor> rows;
  rows.reserve(prompts.size());
  for (const std::string& prompt : prompts) rows.push_back(embeddings_.at(prompt));
  if (rows.empty()) return at::empty({0, model_->config().projection_dim}, at::kFloat);
  return at::stack(rows);
}

}  // namespace rsidiff::worker
