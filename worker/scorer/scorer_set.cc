#include "worker/scorer/scorer_set.h"

#include <ATen/Functions.h>

#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "worker/scorer/aesthetic_score.h"
#include "worker/scorer/clip_logit_score.h"
#include "worker/scorer/clip_score.h"
#include "worker/scorer/clip_score_vit_l_14.h"
#include "worker/scorer/hps_score.h"
#include "worker/scorer/hps_v2.h"
#include "worker/scorer/image_reward.h"
#include "worker/scorer/pick_score.h"

namespace rsidiff::worker {
namespace {

const ClipDefinition* DefinitionOf(ScorerType type) {
  switch (type) {
    case ScorerType::kHpsV20:
    case ScorerType::kHpsV21:
      return &HpsV2Definition();
    case ScorerType::kPickScore:
      return &PickScoreDefinition();
    case ScorerType::kClipScoreVitL14Cos:
    case ScorerType::kAestheticV2:
      return &ClipScoreVitL14Definition();
    default:
      return nullptr;
  }
}

absl::StatusOr<std::unique_ptr<Scorer>> LoadAesthetic(const ScorerSource& source, ScorerParts& parts) {
  if (source.clip.empty())
    return absl::InvalidArgumentError("no CLIP folder given whose image embedding to read");
  // The tower is clipscore-vit-l-14-cos's, under its name.
  const ClipPin pin{DefinitionOf(source.type), ScorerTypeName(ScorerType::kClipScoreVitL14Cos)};
  RSIDIFF_ASSIGN_OR_RETURN(const CheckedClip checked, CheckClip({source.clip, ""}, pin));
  const AestheticShape shape =
      source.type == ScorerType::kAestheticV2 ? AestheticShape::kPinned : AestheticShape::kAny;
  RSIDIFF_ASSIGN_OR_RETURN(AestheticHead head,
                           LoadAestheticHead(source.folder, checked.config.projection_dim, shape));
  RSIDIFF_ASSIGN_OR_RETURN(const ScorerParts::Clip clip, parts.LoadClip(checked));
  return std::make_unique<AestheticScore>(std::move(head), clip.images);
}

absl::StatusOr<std::unique_ptr<Scorer>> LoadBlipReward(const ScorerSource& source, ScorerParts& parts) {
  const auto shape =
      source.type == ScorerType::kImageReward ? ImageReward::Shape::kPinned : ImageReward::Shape::kAny;
  const std::filesystem::path& tokenizer = source.tokenizer.empty() ? source.folder : source.tokenizer;
  return ImageReward::Load(source.folder, tokenizer, shape, parts);
}

absl::StatusOr<std::unique_ptr<Scorer>> LoadClipType(const ScorerSource& source, ScorerParts& parts) {
  const ClipPin pin{DefinitionOf(source.type), ScorerTypeName(source.type)};
  const std::filesystem::path& tokenizer = source.tokenizer.empty() ? source.folder : source.tokenizer;
  RSIDIFF_ASSIGN_OR_RETURN(const CheckedClip checked, CheckClip({source.folder, tokenizer}, pin));
  RSIDIFF_ASSIGN_OR_RETURN(const ScorerParts::Clip clip, parts.LoadClip(checked));
  switch (source.type) {
    case ScorerType::kClipLogit:
    case ScorerType::kPickScore:
      return std::make_unique<ClipLogitScore>(clip.images, clip.prompts, clip.model->logit_scale());
    case ScorerType::kHps:
    case ScorerType::kHpsV20:
    case ScorerType::kHpsV21:
      return std::make_unique<HpsScore>(clip.images, clip.prompts);
    default:
      return std::make_unique<ClipScore>(clip.images, clip.prompts);
  }
}

absl::StatusOr<std::unique_ptr<Scorer>> LoadScorer(const ScorerSource& source, ScorerParts& parts) {
  const ScorerFamily family = FamilyOf(source.type);
  if (family == ScorerFamily::kAesthetic) return LoadAesthetic(source, parts);
  if (!source.clip.empty())
    return absl::InvalidArgumentError("a separate CLIP folder is for aesthetic scorers only");
  return family == ScorerFamily::kBlipReward ? LoadBlipReward(source, parts) : LoadClipType(source, parts);
}

absl::Status CheckScores(const std::string& scorer, const std::vector<double>& scores,
                         const ScoreBatch& batch) {
  if (scores.size() != batch.images().size()) {
    return absl::InternalError(absl::StrCat("scorer ", scorer, " gave ", scores.size(), " scores for ",
                                            batch.images().size(), " pictures"));
  }
  for (size_t i = 0; i < scores.size(); ++i) {
    if (std::isfinite(scores[i])) continue;
    return absl::DataLossError(absl::StrCat("scorer ", scorer, ": ", batch.Label(i),
                                            ": score is not finite: ", scores[i], ", prompt \"",
                                            Excerpt(batch.prompts()[i]), "\""));
  }
  return absl::OkStatus();
}

absl::Status CheckFeatures(const std::string& scorer, const at::Tensor& features, const ScoreBatch& batch) {
  const at::Tensor finite = features.isfinite().all(1);
  for (size_t i = 0; i < batch.images().size(); ++i) {
    if (finite[i].item<bool>()) continue;
    return absl::DataLossError(absl::StrCat("scorer ", scorer, ": ", batch.Label(i),
                                            ": image features are not finite, prompt \"",
                                            Excerpt(batch.prompts()[i]), "\""));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ScorerSet>> ScorerSet::Load(absl::Span<const ScorerSource> sources,
                                                           const Options& options) {
  ScorerParts parts(options);
  return Load(sources, parts);
}

absl::StatusOr<std::unique_ptr<ScorerSet>> ScorerSet::Load(absl::Span<const ScorerSource> sources,
                                                           ScorerParts& parts) {
  auto set = std::unique_ptr<ScorerSet>(new ScorerSet());
  for (const ScorerSource& source : sources) {
    const std::string context = absl::StrCat("scorer ", source.name);
    if (set->Find(source.name).ok()) {
      return absl::InvalidArgumentError(absl::StrCat(context, ": another scorer has this name"));
    }
    absl::StatusOr<std::unique_ptr<Scorer>> scorer = LoadScorer(source, parts);
    if (!scorer.ok()) return Annotate(scorer.status(), context);
    set->entries_.push_back({source.name, *std::move(scorer)});
  }
  return set;
}

std::vector<std::string> ScorerSet::names() const {
  std::vector<std::string> names;
  for (const Entry& entry : entries_) names.push_back(entry.name);
  return names;
}

absl::StatusOr<Scorer*> ScorerSet::Find(absl::string_view name) const {
  for (const Entry& entry : entries_) {
    if (entry.name == name) return entry.scorer.get();
  }
  return absl::NotFoundError(absl::StrCat("no scorer of this name is loaded: ", name));
}

absl::StatusOr<ScorerSet::Result> ScorerSet::Score(const Request& request) {
  if (request.images.size() != request.prompts.size()) {
    return absl::InvalidArgumentError(absl::StrCat("as many prompts as pictures are needed, not ",
                                                   request.prompts.size(), " for ", request.images.size()));
  }
  ScoreBatch batch(request.images, request.prompts, request.labels);
  Result result;
  const std::vector<std::string> wanted = request.scorers.empty() ? names() : request.scorers;
  for (const std::string& name : wanted) {
    const double done = static_cast<double>(result.columns.size()) / static_cast<double>(wanted.size());
    if (request.on_progress && !request.on_progress(done))
      return absl::CancelledError("scoring was cancelled");
    RSIDIFF_ASSIGN_OR_RETURN(Scorer * scorer, Find(name));
    absl::StatusOr<std::vector<double>> scores = scorer->Score(batch);
    if (!scores.ok()) return Annotate(scores.status(), absl::StrCat("scorer ", name));
    RSIDIFF_RETURN_IF_ERROR(CheckScores(name, *scores, batch));
    result.columns.push_back({name, *std::move(scores)});
  }
  if (!request.features.empty()) {
    RSIDIFF_ASSIGN_OR_RETURN(Scorer * scorer, Find(request.features));
    absl::StatusOr<at::Tensor> features = scorer->ImageFeatures(batch);
    if (!features.ok()) return Annotate(features.status(), absl::StrCat("scorer ", request.features));
    RSIDIFF_RETURN_IF_ERROR(CheckFeatures(request.features, *features, batch));
    result.features = *std::move(features);
  }
  return result;
}

}  // namespace rsidiff::worker
