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

/// Whether a type fixes the preprocessing, so that its folder may do without preprocessor_config.json.
bool FixesPreprocessing(v1::ScorerType type);

}  // namespace rsidiff
