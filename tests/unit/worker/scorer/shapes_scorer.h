#pragma once

#include <filesystem>
#include <string>

#include "worker/scorer/scorer_set.h"

namespace rsidiff::worker {

inline const std::filesystem::path kShapes =
    std::filesystem::path(RSIDIFF_SOURCE_DIR) / "deploy/examples/shapes";

/// A scorer of the shapes example, from one of its folders.
inline ScorerSource ShapesScorer(const std::string& name, ScorerType type, const std::string& folder) {
  ScorerSource source;
  source.name = name;
  source.type = type;
  source.folder = kShapes / folder;
  if (type == ScorerType::kAesthetic) {
    source.clip = kShapes / "hps";
  } else {
    source.tokenizer = kShapes / "base/tokenizer";
  }
  return source;
}

}  // namespace rsidiff::worker
