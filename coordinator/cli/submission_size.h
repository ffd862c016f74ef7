#pragma once

#include <cstddef>

#include "absl/status/status.h"
#include "rsidiff/v1/coordinator.pb.h"

namespace rsidiff::coordinator {

/// Whether a submission fits one message of `limit` bytes, also with the digests that are put into it later.
/// INVALID_ARGUMENT says how large it is and what to do.
absl::Status CheckSubmissionSize(const v1::SubmitRunRequest& request, size_t limit);

}  // namespace rsidiff::coordinator
