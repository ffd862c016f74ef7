#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rsidiff::worker {

/// One sample of a round's training set.
struct TrainingExample {
  std::string prompt;
  std::string latents;  // digest of the chunk's latents file
  uint32_t row = 0;     // in it
  std::string image;    // digest of the picture
  double weight = 1.0;
  bool replay = false;  // kept in an earlier round
};

/// Parses the manifest of work.proto's TrainWork: JSON lines. INVALID_ARGUMENT names `name` and the line that
/// is malformed, lacks a field, or has a weight that is negative or not finite; an empty manifest is one too.
absl::StatusOr<std::vector<TrainingExample>> ParseTrainingManifest(absl::string_view text,
                                                                   absl::string_view name);

}  // namespace rsidiff::worker
