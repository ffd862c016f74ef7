#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace rsidiff::coordinator {

/// Runs a program (`command[0]` is its path) to its end, with this process's environment and stderr, and
/// returns what it wrote to stdout. NOT_FOUND: it cannot be started. INTERNAL: it ended with another exit
/// code than 0, or by a signal; the message says which.
absl::StatusOr<std::string> RunProgram(const std::vector<std::string>& command);

}  // namespace rsidiff::coordinator
