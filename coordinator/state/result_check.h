#pragma once

#include "absl/status/status.h"
#include "rsidiff/v1/work.pb.h"

namespace rsidiff::coordinator {

/// INVALID_ARGUMENT unless `result` answers `work` of a run: the right kind and counts, finite numbers,
/// digests in form. The message names the field.
absl::Status CheckResult(const v1::RunSpec& spec, const v1::TaskPayload& work, const v1::TaskResult& result);

}  // namespace rsidiff::coordinator
