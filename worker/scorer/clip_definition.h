#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/text/clip_tokenizer.h"
#include "worker/model/clip_config.h"
#include "worker/scorer/clip_preprocessing.h"

namespace rsidiff::worker {

/// What a pinned name says about the CLIP model behind it, beside the formula.
struct ClipDefinition {
  ClipConfig model;
  ClipPreprocessing preprocessing;
  TextCleaning cleaning = TextCleaning::kTransformers;
};

/// Collects where a config.json differs from a pinned model's, each by its key.
class ConfigDifferences {
 public:
  template <typename T>
  void Compare(absl::string_view key, const T& found, const T& wanted) {
    if (found != wanted) list_.push_back(absl::StrCat(key, " is ", found, ", not ", wanted));
  }
  void CompareEncoders(const std::string& tower, const ClipEncoderConfig& found,
                       const ClipEncoderConfig& wanted);
  void CompareVision(const ClipVisionConfig& found, const ClipVisionConfig& wanted);
  /// INVALID_ARGUMENT that lists them, if there are any.
  absl::Status ToStatus() const;

 private:
  std::vector<std::string> list_;
};

/// OK when `found` computes what `wanted` does, whatever its weights; else INVALID_ARGUMENT that names each
/// difference by its key, or, where `found` carries another scorer's name than `scorer`, that name.
absl::Status CheckClipConfig(const ClipConfig& found, const ClipConfig& wanted, absl::string_view scorer);

/// OK when `tokenizer` has CLIP's own 49,408 tokens with begin and end last, and cleans as `cleaning` says;
/// else INVALID_ARGUMENT.
absl::Status CheckClipTokenizer(const ClipTokenizer& tokenizer, TextCleaning cleaning);

/// OK when `found`, the name in a folder's configuration, is empty or `wanted`; else INVALID_ARGUMENT.
absl::Status CheckScorerName(absl::string_view found, absl::string_view wanted);

/// Sizes of open_clip's ViT-H-14 (laion/CLIP-ViT-H-14-laion2B-s32B-b79K): of HPSv2 and PickScore.
ClipConfig VitH14Config();

/// Sizes of OpenAI's ViT-L/14 (openai/clip-vit-large-patch14).
ClipConfig VitL14Config();

}  // namespace rsidiff::worker
