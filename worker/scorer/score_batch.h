#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/image/image.h"
#include "worker/scorer/image_encoder.h"
#include "worker/scorer/prompt_encoder.h"

namespace rsidiff::worker {

/// Pictures and the prompts they were made for. Keeps each encoder's image features, so that scorers which
/// share an encoder compute them once. Owns nothing of what it is given.
class ScoreBatch {
 public:
  /// `images` and `prompts` of equal length; `labels`, as many or none, are what errors call the pictures.
  ScoreBatch(absl::Span<const Image> images, absl::Span<const std::string> prompts,
             absl::Span<const std::string> labels)
      : images_(images), prompts_(prompts), labels_(labels) {}

  absl::Span<const Image> images() const { return images_; }
  absl::Span<const std::string> prompts() const { return prompts_; }

  /// The picture's label, else "sample INDEX".
  std::string Label(size_t index) const;

  /// `encoder`'s features of the pictures; computed at the first call for this encoder. DATA_LOSS names the
  /// picture whose embedding has zero length.
  absl::StatusOr<at::Tensor> ImageFeatures(const ImageEncoder& encoder);

  /// `encoder`'s features of the prompts. DATA_LOSS names the picture and its prompt whose embedding has zero
  /// length.
  absl::StatusOr<at::Tensor> PromptFeatures(PromptEncoder& encoder) const;

 private:
  absl::Status CheckLengths(const at::Tensor& features, absl::string_view what) const;

  absl::Span<const Image> images_;
  absl::Span<const std::string> prompts_;
  absl::Span<const std::string> labels_;
  absl::flat_hash_map<const ImageEncoder*, at::Tensor> features_;
};

}  // namespace rsidiff::worker
