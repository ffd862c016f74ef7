#include "worker/phase/score.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {
namespace {

// Loading the pictures counts as this share of the task; the scorers, which are taken as equal, are the rest.
constexpr double kLoadingShare = 0.1;

absl::StatusOr<std::vector<Image>> LoadImages(const v1::ScoreWork& work, PhaseContext& context,
                                              TaskControl& control) {
  std::vector<Image> images;
  for (int i = 0; i < work.images_size(); ++i) {
    if (control.cancelled()) return absl::CancelledError("the scores are not wanted any more");
    control.ReportProgress(kLoadingShare * i / work.images_size());
    RSIDIFF_ASSIGN_OR_RETURN(const std::shared_ptr<const Image> image,
                             context.images.Get(work.images(i), context.store));
    images.push_back(*image);
  }
  return images;
}

}  // namespace

absl::StatusOr<v1::ScoreResult> Score(const v1::TaskPayload& payload, PhaseContext& context,
                                      TaskControl& control) {
  const v1::ScoreWork& work = payload.score();
  if (work.prompts_size() != work.images_size() || work.indices_size() != work.images_size()) {
    return absl::InvalidArgumentError(absl::StrCat("task has ", work.prompts_size(), " prompts and ",
                                                   work.indices_size(), " indices for ", work.images_size(),
                                                   " pictures"));
  }
  RSIDIFF_ASSIGN_OR_RETURN(ScorerSet * scorers, context.models.Scorers(payload));
  RSIDIFF_ASSIGN_OR_RETURN(const std::vector<Image> images, LoadImages(work, context, control));
  std::vector<std::string> labels;
  for (const uint32_t index : work.indices()) labels.push_back(absl::StrCat("sample ", index));
  const std::vector<std::string> prompts(work.prompts().begin(), work.prompts().end());
  ScorerSet::Request request;
  request.images = images;
  request.prompts = prompts;
  request.labels = labels;
  request.scorers.assign(work.scorers().begin(), work.scorers().end());
  request.features = work.features();
  request.on_progress = [&control](double fraction) {
    control.ReportProgress(kLoadingShare + (1 - kLoadingShare) * fraction);
    return !control.cancelled();
  };
  RSIDIFF_ASSIGN_OR_RETURN(ScorerSet::Result scored, scorers->Score(request));

  v1::ScoreResult result;
  for (const ScorerSet::Column& column : scored.columns) {
    v1::ScoreResult::Column* out = result.add_columns();
    out->set_scorer(column.scorer);
    out->mutable_scores()->Add(column.scores.begin(), column.scores.end());
  }
  if (!scored.features.defined()) return result;
  RSIDIFF_ASSIGN_OR_RETURN(std::string features,
                           SerializeSafetensors({{"features", scored.features}}, {{"format", "pt"}}));
  RSIDIFF_ASSIGN_OR_RETURN(*result.mutable_features(), context.store.Put(features));
  return result;
}

}  // namespace rsidiff::worker
