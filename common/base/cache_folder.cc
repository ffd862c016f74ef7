#include "common/base/cache_folder.h"

#include <cstdlib>
#include <system_error>

namespace rsidiff {

std::filesystem::path CacheFolder() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0') {
    return std::filesystem::path(cache) / "rsidiff";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    return std::filesystem::path(home) / ".cache" / "rsidiff";
  }
  std::error_code error;
  const std::filesystem::path temporary = std::filesystem::temp_directory_path(error);
  // TMPDIR may name a folder that is not there.
  return (error ? std::filesystem::path("/tmp") : temporary) / "rsidiff-cache";
}

}  // namespace rsidiff
