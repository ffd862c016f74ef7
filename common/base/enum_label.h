#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace rsidiff {

/// "ROUND_PHASE_SAMPLE", "ROUND_PHASE_" -> "sample": an enum value as people read it, in messages, metrics
/// and run files.
std::string EnumLabel(absl::string_view name, absl::string_view prefix);

}  // namespace rsidiff
