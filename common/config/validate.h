#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/config/diagnostic.h"
#include "common/config/spec_reader.h"

namespace rsidiff {

/// Position of the value at `path`, or of the nearest section around it that the file has.
Position PositionOf(const Positions& positions, absl::string_view path);

/// Everything that is wrong with a spec whose defaults are filled in, beyond what reading it found:
/// required values that are missing, values out of range, and values that contradict each other. Looks at
/// no file.
std::vector<Diagnostic> ValidateRunSpec(const ReadSpec& read);

/// What is allowed but probably not meant.
std::vector<Diagnostic> WarnAboutRunSpec(const v1::RunSpec& spec, const Positions& positions);

}  // namespace rsidiff
