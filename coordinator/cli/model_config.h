#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"

namespace rsidiff::coordinator {

/// A configuration file of a model folder (config.json, scheduler_config.json): a JSON object. NOT_FOUND:
/// there is no such file. INVALID_ARGUMENT: it holds something else.
absl::StatusOr<nlohmann::json> ReadModelConfig(const std::filesystem::path& path);

}  // namespace rsidiff::coordinator
