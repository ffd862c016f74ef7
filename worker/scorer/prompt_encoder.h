#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/text/clip_tokenizer.h"
#include "worker/model/clip_model.h"

namespace rsidiff::worker {

/// Prompts to L2-normalised projected text embeddings, remembered by prompt: the K pictures of a prompt, and
/// every later round, need them again. Not thread-safe.
class PromptEncoder {
 public:
  /// Embeddings kept before the memory is emptied and begun anew: 64 MB for 1024-wide ones.
  static constexpr size_t kCapacity = 16384;

  /// FAILED_PRECONDITION when the tokenizer has ids that the model has no embedding for.
  static absl::StatusOr<std::unique_ptr<PromptEncoder>> Create(
      std::shared_ptr<const ClipModel> model, std::shared_ptr<const ClipTokenizer> tokenizer);

  /// fp32 [N, projection_dim] on the CPU; a row is zero where the embedding has no length. A prompt of more
  /// tokens than the model has positions is cut, keeping the end-of-text token last, as transformers'
  /// `truncation=True` does.
  at::Tensor Encode(absl::Span<const std::string> prompts);

 private:
  PromptEncoder(std::shared_ptr<const ClipModel> model, std::shared_ptr<const ClipTokenizer> tokenizer);
  at::Tensor EncodeMissing(absl::Span<const std::string* const> prompts) const;

  std::shared_ptr<const ClipModel> model_;
  std::shared_ptr<const ClipTokenizer> tokenizer_;
  absl::flat_hash_map<std::string, at::Tensor> embeddings_;  // [projection_dim] each
};

}  // namespace rsidiff::worker
