#include "worker/train/manifest.h"

#include <cmath>
#include <cstdint>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace rsidiff::worker {
namespace {

using nlohmann::json;

bool IsOfOtherTools(const std::string& key) {
  for (const char* known : {"index", "sample", "seed", "sha256", "scores"}) {
    if (key == known) return true;
  }
  return false;
}

absl::Status WrongKind(const std::string& key, const char* kind) {
  return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is not ", kind));
}

absl::Status SetKey(const std::string& key, const json& value, ManifestEntry& entry) {
  std::string* text = key == "prompt"   ? &entry.prompt
                      : key == "file"   ? &entry.file
                      : key == "latent" ? &entry.latent
                                        : nullptr;
  if (text != nullptr) {
    if (!value.is_string()) return WrongKind(key, "a string");
    *text = value.get<std::string>();
  } else if (key == "row") {
    constexpr uint64_t kLargest = std::numeric_limits<int64_t>::max();
    if (!value.is_number_unsigned() || value.get<uint64_t>() > kLargest)
      return WrongKind(key, "a row number");
    entry.row = value.get<int64_t>();
  } else if (key == "weight") {
    if (!value.is_number()) return WrongKind(key, "a number");
    entry.weight = value.get<double>();
    if (!std::isfinite(entry.weight) || entry.weight < 0.0) return WrongKind(key, "0 or more");
  } else if (key == "replay") {
    if (!value.is_boolean()) return WrongKind(key, "true or false");
    entry.replay = value.get<bool>();
  } else if (!IsOfOtherTools(key)) {
    return absl::InvalidArgumentError(absl::StrCat("unknown key \"", key, "\""));
  }
  return absl::OkStatus();
}

absl::StatusOr<ManifestEntry> ParseLine(absl::string_view line) {
  const json object = json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return absl::InvalidArgumentError("not a JSON object");
  ManifestEntry entry;
  for (const auto& [key, value] : object.items()) RSIDIFF_RETURN_IF_ERROR(SetKey(key, value, entry));
  if (!object.contains("prompt")) return absl::InvalidArgumentError("no \"prompt\"");
  if (entry.file.empty() == entry.latent.empty()) {
    return absl::InvalidArgumentError("needs either \"file\" or \"latent\"");
  }
  return entry;
}

}  // namespace

absl::StatusOr<std::vector<ManifestEntry>> ParseManifest(absl::string_view text, absl::string_view name) {
  std::vector<ManifestEntry> entries;
  size_t number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    absl::StatusOr<ManifestEntry> entry = ParseLine(line);
    if (!entry.ok()) return Annotate(entry.status(), absl::StrCat(name, ":", number));
    entry->line = number;
    entries.push_back(*std::move(entry));
  }
  if (entries.empty()) return absl::InvalidArgumentError(absl::StrCat(name, ": the manifest is empty"));
  return entries;
}

}  // namespace rsidiff::worker
