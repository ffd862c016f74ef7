#pragma once

#include "absl/status/statusor.h"
#include "rsidiff/v1/work.pb.h"
#include "worker/phase/phase_context.h"
#include "worker/phase/task.h"

namespace rsidiff::worker {

/// FILTER: greedy covering of the prompts in embedding space; work.proto says which prompts go. Every prompt
/// is compared with every prompt kept before it, by matrix products on the device: N^2 D operations and N D
/// numbers of memory at most. INVALID_ARGUMENT when the files do not hold the embeddings of
/// `work.prompts()` prompts.
absl::StatusOr<v1::FilterResult> CoverPrompts(const v1::FilterWork& work, PhaseContext& context,
                                              TaskControl& control);

}  // namespace rsidiff::worker
