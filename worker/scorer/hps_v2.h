#pragma once

#include "worker/scorer/clip_definition.h"

namespace rsidiff::worker {

/// What `hpsv2.0` and `hpsv2.1` mean beside HpsScore's formula; the two differ in their weights alone. As
/// tgxs002/HPSv2 computes it with a torchvision of today: ToTensor first, then a bicubic resize of floats
/// *with* antialias (the default since torchvision 0.17; before, the same code resized without), no clamp,
/// centre crop, CLIP's mean and deviation; text cleaned as open_clip does.
const ClipDefinition& HpsV2Definition();

}  // namespace rsidiff::worker
