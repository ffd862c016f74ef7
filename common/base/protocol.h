#pragma once

#include <cstdint>

namespace rsidiff {

/// Version of the gRPC protocol between coordinator, workers and clients. A worker that registers with
/// another one is refused.
inline constexpr uint32_t kProtocolVersion = 2;

}  // namespace rsidiff
