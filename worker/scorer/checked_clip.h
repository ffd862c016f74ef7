#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/text/clip_tokenizer.h"
#include "worker/model/clip_config.h"
#include "worker/scorer/clip_definition.h"
#include "worker/scorer/clip_preprocessing.h"

namespace rsidiff::worker {

/// Where a CLIP model is.
struct ClipFolders {
  std::filesystem::path model;
  std::filesystem::path tokenizer;  // empty: no prompts are read
};

/// A definition and the name that is pinned to it.
struct ClipPin {
  const ClipDefinition* definition = nullptr;  // null: any model, as its folder says
  std::string scorer;
};

/// A CLIP model of which all but the weights is read and found to be what the pin says.
struct CheckedClip {
  ClipFolders folders;
  ClipConfig config;
  ClipPreprocessing preprocessing;
  std::shared_ptr<const ClipTokenizer> tokenizer;  // null where no prompts are read
};

/// Errors name the file and the key. A pinned folder may do without preprocessor_config.json.
absl::StatusOr<CheckedClip> CheckClip(const ClipFolders& folders, const ClipPin& pin);

}  // namespace rsidiff::worker
