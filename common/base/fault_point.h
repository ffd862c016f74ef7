#pragma once

#include "absl/strings/string_view.h"

namespace rsidiff {

/// A place where a test may end or stop this process. Builds with RSIDIFF_FAULT_POINTS (those with tests)
/// read the environment variable RSIDIFF_FAULT: a list "POINT:N:ACTION,..." whose N-th pass (from 1) of POINT
/// raises SIGKILL ("kill") or SIGSTOP ("stop"). A list out of form ends the process with a message. Other
/// builds do nothing here. Thread-safe.
void FaultPoint(absl::string_view point);

}  // namespace rsidiff
