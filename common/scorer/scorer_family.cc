#include "common/scorer/scorer_family.h"

namespace rsidiff {

ScorerFamily FamilyOf(v1::ScorerType type) {
  switch (type) {
    case v1::SCORER_TYPE_CLIPSCORE:
    case v1::SCORER_TYPE_HPS:
    case v1::SCORER_TYPE_CLIP_LOGIT:
    case v1::SCORER_TYPE_HPSV2_0:
    case v1::SCORER_TYPE_HPSV2_1:
    case v1::SCORER_TYPE_PICKSCORE:
    case v1::SCORER_TYPE_CLIPSCORE_VIT_L_14_COS:
      return ScorerFamily::kClip;
    case v1::SCORER_TYPE_AESTHETIC:
    case v1::SCORER_TYPE_AESTHETIC_V2:
      return ScorerFamily::kAesthetic;
    case v1::SCORER_TYPE_BLIP_REWARD:
    case v1::SCORER_TYPE_IMAGEREWARD:
      return ScorerFamily::kBlipReward;
    default:
      return ScorerFamily::kUnknown;
  }
}

bool FixesPreprocessing(v1::ScorerType type) {
  switch (type) {
    case v1::SCORER_TYPE_CLIPSCORE:
    case v1::SCORER_TYPE_HPS:
    case v1::SCORER_TYPE_CLIP_LOGIT:
    case v1::SCORER_TYPE_AESTHETIC:
      return false;
    default:
      return true;
  }
}

}  // namespace rsidiff
