#pragma once

#include <filesystem>

namespace rsidiff {

/// Where this user's programs keep what they can fetch or make again: $XDG_CACHE_HOME/rsidiff, else
/// ~/.cache/rsidiff, else a folder among the temporary files. It need not exist yet.
std::filesystem::path CacheFolder();

}  // namespace rsidiff
