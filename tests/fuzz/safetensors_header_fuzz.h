#pragma once

#include "absl/strings/string_view.h"

namespace rsidiff::worker {

/// Parses `bytes` as a safetensors file. True when accepted; aborts when an accepted header breaks a promise.
bool CheckSafetensorsHeader(absl::string_view bytes);

}  // namespace rsidiff::worker
