#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/image/image.h"
#include "worker/model/clip_model.h"
#include "worker/scorer/clip_preprocessor.h"

namespace rsidiff::worker {

/// Pictures to L2-normalised projected image embeddings. Not thread-safe.
class ImageEncoder {
 public:
  /// `batch_size`: pictures a forward pass; the last pass is padded to it, so the numeric library always sees
  /// the same shapes and a picture's bits do not depend on how many came with it. FAILED_PRECONDITION when
  /// the preprocessor makes pictures of another size than the model takes.
  static absl::StatusOr<std::unique_ptr<ImageEncoder>> Create(std::shared_ptr<const ClipModel> model,
                                                              ClipPreprocessor preprocessor,
                                                              int64_t batch_size);

  /// fp32 [N, feature_size()] on the CPU; a row is zero where the embedding has no length. The error names
  /// the picture's index.
  absl::StatusOr<at::Tensor> Encode(absl::Span<const Image> images) const;

  /// projection_dim of the model.
  int64_t feature_size() const { return model_->config().projection_dim; }

 private:
  ImageEncoder(std::shared_ptr<const ClipModel> model, ClipPreprocessor preprocessor, int64_t batch_size);

  std::shared_ptr<const ClipModel> model_;
  ClipPreprocessor preprocessor_;
  int64_t batch_size_;
};

}  // namespace rsidiff::worker
