#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace rsidiff {

/// The valid name that `name` was most likely meant to be: the nearest by edits (insert, delete,
/// replace, swap of neighbours; case and `-`/`_` do not count), when that is a third of its length or less.
std::optional<std::string> NearestName(absl::string_view name, const std::vector<std::string>& valid);

/// What to tell about a wrong name: `did you mean "x"?`, or `valid LABEL: a, b, c` when none is near.
std::string SuggestName(absl::string_view name, const std::vector<std::string>& valid,
                        absl::string_view label);

}  // namespace rsidiff
