#include "worker/scorer/scorer_type.h"

#include <iterator>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace rsidiff::worker {
namespace {

struct Entry {
  ScorerType type;
  const char* name;
  ScorerFamily family;
};

constexpr Entry kTypes[] = {
    {ScorerType::kClipScore, "clipscore", ScorerFamily::kClip},
    {ScorerType::kHps, "hps", ScorerFamily::kClip},
    {ScorerType::kClipLogit, "clip-logit", ScorerFamily::kClip},
    {ScorerType::kAesthetic, "aesthetic", ScorerFamily::kAesthetic},
    {ScorerType::kBlipReward, "blip-reward", ScorerFamily::kBlipReward},
    {ScorerType::kHpsV20, "hpsv2.0", ScorerFamily::kClip},
    {ScorerType::kHpsV21, "hpsv2.1", ScorerFamily::kClip},
    {ScorerType::kPickScore, "pickscore", ScorerFamily::kClip},
    {ScorerType::kClipScoreVitL14Cos, "clipscore-vit-l-14-cos", ScorerFamily::kClip},
    {ScorerType::kAestheticV2, "aesthetic-v2", ScorerFamily::kAesthetic},
    {ScorerType::kImageReward, "imagereward", ScorerFamily::kBlipReward},
};

const Entry& EntryOf(ScorerType type) {
  for (const Entry& entry : kTypes) {
    if (entry.type == type) return entry;
  }
  return kTypes[0];
}

}  // namespace

ScorerFamily FamilyOf(ScorerType type) {
  return EntryOf(type).family;
}

absl::StatusOr<ScorerType> ParseScorerType(absl::string_view name) {
  for (const Entry& entry : kTypes) {
    if (name == entry.name) return entry.type;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown scorer type; there are ", ScorerTypeNames(), ": \"", name, "\""));
}

std::string ScorerTypeName(ScorerType type) {
  return EntryOf(type).name;
}

std::string ScorerTypeNames() {
  std::string names;
  for (size_t i = 0; i < std::size(kTypes); ++i) {
    const char* separator = i == 0 ? "" : i + 1 < std::size(kTypes) ? ", " : " and ";
    absl::StrAppend(&names, separator, kTypes[i].name);
  }
  return names;
}

}  // namespace rsidiff::worker
