#pragma once

#include "worker/scorer/clip_score.h"

namespace rsidiff::worker {

/// Human Preference Score v2 / v2.1: cos(image, text) of a CLIP model trained on preferences, without the
/// logit scale, as `score` in tgxs002/HPSv2's hpsv2/img_score.py (its benchmark tables print 100 times this).
/// The weights are a CLIPModel folder. The original resizes floats without rounding to 8 bits; here the
/// folder's preprocessor_config.json decides, in Pillow's arithmetic, so scores differ slightly from the
/// published tool's.
class HpsScore final : public ClipScore {
 public:
  using ClipScore::ClipScore;
};

}  // namespace rsidiff::worker
