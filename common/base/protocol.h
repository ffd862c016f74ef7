#pragma once

#include <cstdint>

namespace rsidiff {

/// Version of the gRPC protocol between coordinator, workers and clients. A worker that registers with
/// another one is refused.
inline constexpr uint32_t kProtocolVersion = 2;

/// The longest message that coordinator and workers take; gRPC answers a longer one with RESOURCE_EXHAUSTED.
/// The longest is the one that submits a run, with all its prompts.
inline constexpr int kMaxMessageBytes = 256 << 20;

}  // namespace rsidiff
