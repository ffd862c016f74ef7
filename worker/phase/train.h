#pragma once

#include "absl/status/statusor.h"
#include "rsidiff/v1/coordinator.pb.h"
#include "worker/phase/phase_context.h"
#include "worker/phase/task.h"

namespace rsidiff::worker {

/// TRAIN: this worker's part in a round's training, from joining the first generation to the last step;
/// survives changes of membership. Every member ends with the same parameters and stores the same checkpoint
/// (work.proto, TrainResult); the losses are those of the steps that this member took part in.
absl::StatusOr<v1::TrainResult> Train(const v1::Grant& grant, PhaseContext& context, TaskControl& control);

}  // namespace rsidiff::worker
