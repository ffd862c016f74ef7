#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/image/image.h"
#include "worker/scorer/image_encoder.h"

namespace rsidiff::worker {

/// Pictures and the prompts they were made for. Keeps each encoder's image features, so that scorers which
/// share an encoder compute them once. Does not own pictures and prompts.
class ScoreBatch {
 public:
  /// `images` and `prompts` of equal length.
  ScoreBatch(absl::Span<const Image> images, absl::Span<const std::string> prompts)
      : images_(images), prompts_(prompts) {}

  absl::Span<const Image> images() const { return images_; }
  absl::Span<const std::string> prompts() const { return prompts_; }

  /// `encoder`'s features of the pictures; computed at the first call for this encoder.
  absl::StatusOr<at::Tensor> ImageFeatures(const ImageEncoder& encoder);

 private:
  absl::Span<const Image> images_;
  absl::Span<const std::string> prompts_;
  absl::flat_hash_map<const ImageEncoder*, at::Tensor> features_;
};

}  // namespace rsidiff::worker
