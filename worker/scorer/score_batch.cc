#include "worker/scorer/score_batch.h"

#include "common/base/status_macros.h"

namespace rsidiff::worker {

absl::StatusOr<at::Tensor> ScoreBatch::ImageFeatures(const ImageEncoder& encoder) {
  if (auto found = features_.find(&encoder); found != features_.end()) return found->second;
  RSIDIFF_ASSIGN_OR_RETURN(at::Tensor features, encoder.Encode(images_));
  features_.emplace(&encoder, features);
  return features;
}

}  // namespace rsidiff::worker
