#pragma once

#include "absl/status/statusor.h"
#include "rsidiff/v1/work.pb.h"
#include "worker/phase/phase_context.h"
#include "worker/phase/task.h"

namespace rsidiff::worker {

/// SCORE: a column a scorer, and the image embeddings of one of them (work.proto, ScoreResult). A score that
/// is not finite is an error that names scorer, sample and prompt.
absl::StatusOr<v1::ScoreResult> Score(const v1::TaskPayload& payload, PhaseContext& context,
                                      TaskControl& control);

}  // namespace rsidiff::worker
