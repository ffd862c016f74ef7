#pragma once

#include "worker/scorer/clip_score.h"

namespace rsidiff::worker {

/// Human Preference Score v2 / v2.1: cos(image, text) of a CLIP model trained on preferences, without the
/// logit scale, as `score` in tgxs002/HPSv2's hpsv2/img_score.py (its benchmark tables print 100 times this).
/// For `hps` the folder says how pictures and prompts are prepared; `hpsv2.0` and `hpsv2.1` fix it
/// (worker/scorer/hps_v2.h).
class HpsScore final : public ClipScore {
 public:
  using ClipScore::ClipScore;
};

}  // namespace rsidiff::worker
