#pragma once

#include "rsidiff/v1/run.pb.h"

namespace rsidiff {

/// Which files a scorer type reads, and whether it has an image embedding.
enum class ScorerFamily {
  kUnknown,     // unspecified, or a type that this program is too old for
  kClip,        // a CLIPModel and its tokenizer; has an image embedding, so it can serve as `features`
  kAesthetic,   // a head over the image embedding of a CLIPModel
  kBlipReward,  // ImageReward's network and BERT's tokenizer
};

/// By name of each type, so that a type added later is never taken for a CLIP model.
ScorerFamily FamilyOf(v1::ScorerType type);

/// Whether the type itself says how pictures are prepared, so that the folder may do without
/// preprocessor_config.json: pinned types fix it, and a BLIP reward has ImageReward's where there is no file.
bool FixesPreprocessing(v1::ScorerType type);

}  // namespace rsidiff
