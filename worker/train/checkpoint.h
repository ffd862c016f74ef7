#pragma once

#include <filesystem>

#include "absl/status/status.h"
#include "worker/train/training_state.h"

namespace rsidiff::worker {

/// Writes a training state as one safetensors file: TrainingState::Views() and, as metadata, "format" = "pt",
/// "kind" = "rsidiff training state", "version", "step" and "sha256" over names, shapes and values. Atomic:
/// `path` holds the old file or the whole new one.
absl::Status WriteTrainingState(const std::filesystem::path& path, const TrainingState& state);

/// Reads such a file into `state`, whose layout decides what has to be there. DATA_LOSS: torn, or the digest
/// does not match. INVALID_ARGUMENT: another kind of file, or of another model or other options. `state` is
/// unchanged after an error.
absl::Status ReadTrainingState(const std::filesystem::path& path, TrainingState& state);

}  // namespace rsidiff::worker
