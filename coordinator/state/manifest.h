#pragma once

#include <string>

#include "coordinator/state/model.h"

namespace rsidiff::coordinator {

/// The training manifest of `round`: JSON lines as work.proto's TrainWork.manifest says, its own selected
/// samples in index order, then with train.replay those of the earlier rounds, marked "replay".
std::string TrainingManifest(const Run& run, uint32_t round);

}  // namespace rsidiff::coordinator
