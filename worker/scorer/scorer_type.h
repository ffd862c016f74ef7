#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rsidiff::worker {

/// The first five take a model of any shape. The others are pinned: their definition (docs/method.md) covers
/// the model's shape, the preprocessing and the text handling, and another folder is refused.
enum class ScorerType {
  kClipScore,
  kHps,
  kClipLogit,
  kAesthetic,
  kBlipReward,
  kHpsV20,
  kHpsV21,
  kPickScore,
  kClipScoreVitL14Cos,
  kAestheticV2,
  kImageReward,
};

/// Which files a type reads.
enum class ScorerFamily {
  kClip,        // a CLIPModel and its tokenizer
  kAesthetic,   // a head over the image embedding of a CLIPModel
  kBlipReward,  // ImageReward's network and BERT's tokenizer
};

ScorerFamily FamilyOf(ScorerType type);

/// "clipscore", "hpsv2.1" and so on; INVALID_ARGUMENT that lists them otherwise.
absl::StatusOr<ScorerType> ParseScorerType(absl::string_view name);

/// The inverse.
std::string ScorerTypeName(ScorerType type);

/// All names, as a sentence has them: "a, b and c".
std::string ScorerTypeNames();

}  // namespace rsidiff::worker
