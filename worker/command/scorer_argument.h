#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/scorer/scorer_set.h"

namespace rsidiff::worker {

/// Reads "TYPE=DIR[,tokenizer=DIR][,clip=DIR][,name=NAME]". The name is TYPE where none is given. A comma
/// that none of these three words follows belongs to the folder. INVALID_ARGUMENT names what is wrong.
absl::StatusOr<ScorerSource> ParseScorerArgument(absl::string_view text);

}  // namespace rsidiff::worker
