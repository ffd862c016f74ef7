#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace rsidiff {

/// A call's status as the rest of the code knows it. The codes of gRPC and abseil are the same numbers.
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace rsidiff
