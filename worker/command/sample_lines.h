#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace rsidiff::worker {

/// One line of a samples.jsonl file, as `generate` writes it.
struct SampleLine {
  std::string where;            // "FILE:LINE", for messages
  nlohmann::ordered_json json;  // the whole object, keys in their order
  std::string prompt;
  std::filesystem::path picture;  // `file`, relative to the folder of the lines' file
};

/// Reads `file`; blank lines are skipped. Every line has to be an object with strings `prompt` and `file`;
/// INVALID_ARGUMENT names file and line.
absl::StatusOr<std::vector<SampleLine>> ReadSampleLines(const std::filesystem::path& file);

/// Writes the objects, a line each, as a whole file or not at all.
absl::Status WriteSampleLines(const std::filesystem::path& file, const std::vector<SampleLine>& lines);

}  // namespace rsidiff::worker
