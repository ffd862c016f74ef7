#pragma once

#include "absl/status/statusor.h"
#include "rsidiff/v1/work.pb.h"
#include "worker/phase/phase_context.h"
#include "worker/phase/task.h"

namespace rsidiff::worker {

/// EMBED: text embeddings of a block of prompts by the run's own text encoder; work.proto says which. An
/// embedding that is not finite or of zero length is an error that names the prompt.
absl::StatusOr<v1::EmbedResult> Embed(const v1::TaskPayload& payload, PhaseContext& context,
                                      TaskControl& control);

}  // namespace rsidiff::worker
