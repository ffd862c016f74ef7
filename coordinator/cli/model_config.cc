#include "coordinator/cli/model_config.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace rsidiff::coordinator {

absl::StatusOr<nlohmann::json> ReadModelConfig(const std::filesystem::path& path) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  // diffusers writes this for a DPM-Solver without clipping; it is no JSON.
  const std::string readable = absl::StrReplaceAll(text, {{"-Infinity", "-1e300"}});
  nlohmann::json json = nlohmann::json::parse(readable, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object())
    return absl::InvalidArgumentError(absl::StrCat("not a JSON object: ", path.string()));
  return json;
}

}  // namespace rsidiff::coordinator
