#include "worker/scorer/score_batch.h"

#include <ATen/Functions.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"

namespace rsidiff::worker {

std::string ScoreBatch::Label(size_t index) const {
  return index < labels_.size() ? labels_[index] : absl::StrCat("sample ", index);
}

absl::StatusOr<at::Tensor> ScoreBatch::ImageFeatures(const ImageEncoder& encoder) {
  if (auto found = features_.find(&encoder); found != features_.end()) return found->second;
  RSIDIFF_ASSIGN_OR_RETURN(at::Tensor features, encoder.Encode(images_));
  RSIDIFF_RETURN_IF_ERROR(CheckLengths(features, "picture"));
  features_.emplace(&encoder, features);
  return features;
}

absl::StatusOr<at::Tensor> ScoreBatch::PromptFeatures(PromptEncoder& encoder) const {
  at::Tensor features = encoder.Encode(prompts_);
  RSIDIFF_RETURN_IF_ERROR(CheckLengths(features, "prompt"));
  return features;
}

absl::Status ScoreBatch::CheckLengths(const at::Tensor& features, absl::string_view what) const {
  // Not a number is no zero; that is found when the scores are there.
  const at::Tensor zero = features.ne(0).any(1).logical_not();
  if (!zero.any().item<bool>()) return absl::OkStatus();
  const auto index = zero.nonzero()[0][0].item<int64_t>();
  return absl::DataLossError(absl::StrCat(Label(index), ": the ", what,
                                          "'s embedding has zero length, prompt \"", Excerpt(prompts_[index]),
                                          "\""));
}

}  // namespace rsidiff::worker
