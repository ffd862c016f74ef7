#include "worker/phase/spec_settings.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace rsidiff::worker {

c10::ScalarType DtypeOf(v1::Precision precision) {
  switch (precision) {
    case v1::PRECISION_BF16:
      return c10::ScalarType::BFloat16;
    case v1::PRECISION_FP16:
      return c10::ScalarType::Half;
    default:
      return c10::ScalarType::Float;
  }
}

std::optional<SchedulerType> SchedulerOf(v1::SchedulerType type) {
  switch (type) {
    case v1::SCHEDULER_TYPE_DDIM:
      return SchedulerType::kDdim;
    case v1::SCHEDULER_TYPE_PNDM:
      return SchedulerType::kPndm;
    case v1::SCHEDULER_TYPE_EULER:
      return SchedulerType::kEuler;
    case v1::SCHEDULER_TYPE_DPMSOLVERPP:
      return SchedulerType::kDpmSolverPlusPlus;
    default:
      return std::nullopt;
  }
}

absl::StatusOr<ScorerType> ScorerTypeOf(v1::ScorerType type) {
  switch (type) {
    case v1::SCORER_TYPE_CLIPSCORE:
      return ScorerType::kClipScore;
    case v1::SCORER_TYPE_HPS:
      return ScorerType::kHps;
    case v1::SCORER_TYPE_CLIP_LOGIT:
      return ScorerType::kClipLogit;
    case v1::SCORER_TYPE_AESTHETIC:
      return ScorerType::kAesthetic;
    case v1::SCORER_TYPE_BLIP_REWARD:
      return ScorerType::kBlipReward;
    case v1::SCORER_TYPE_HPSV2_0:
      return ScorerType::kHpsV20;
    case v1::SCORER_TYPE_HPSV2_1:
      return ScorerType::kHpsV21;
    case v1::SCORER_TYPE_PICKSCORE:
      return ScorerType::kPickScore;
    case v1::SCORER_TYPE_CLIPSCORE_VIT_L_14_COS:
      return ScorerType::kClipScoreVitL14Cos;
    case v1::SCORER_TYPE_AESTHETIC_V2:
      return ScorerType::kAestheticV2;
    case v1::SCORER_TYPE_IMAGEREWARD:
      return ScorerType::kImageReward;
    default:
      return absl::UnimplementedError(
          absl::StrCat("scorer type ", static_cast<int>(type),
                       " is not known; is this worker older than the coordinator?"));
  }
}

}  // namespace rsidiff::worker
