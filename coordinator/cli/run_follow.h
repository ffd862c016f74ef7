#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "coordinator/cli/command.h"

namespace rsidiff::coordinator {

/// Shows a run's progress on stderr until it ends, then its table on stdout (or its status as JSON).
/// kRunEnded when it failed or was cancelled. Goes on through a coordinator that cannot be reached.
/// Ctrl-C ends the watching, never the run, with kOk.
absl::StatusOr<ExitCode> FollowRun(uint64_t run_id, CommandContext& context);

}  // namespace rsidiff::coordinator
