#pragma once

#include "absl/status/statusor.h"
#include "rsidiff/v1/coordinator.pb.h"
#include "worker/phase/phase_context.h"
#include "worker/phase/task.h"

namespace rsidiff::worker {

/// GENERATE: draws a chunk of samples, always in the chunk's batch shape, and stores pictures and latents
/// (work.proto, GenerateResult).
absl::StatusOr<v1::GenerateResult> Generate(const v1::Grant& grant, PhaseContext& context,
                                            TaskControl& control);

}  // namespace rsidiff::worker
