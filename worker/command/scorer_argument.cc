#include "worker/command/scorer_argument.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"

namespace rsidiff::worker {
namespace {

bool IsSetting(absl::string_view part) {
  return absl::StartsWith(part, "tokenizer=") || absl::StartsWith(part, "clip=") ||
         absl::StartsWith(part, "name=");
}

/// The parts between commas that begin a setting; other commas stay in their part.
std::vector<std::string> SplitSettings(absl::string_view text) {
  std::vector<std::string> parts;
  for (absl::string_view part : absl::StrSplit(text, ',')) {
    if (parts.empty() || IsSetting(part)) {
      parts.emplace_back(part);
    } else {
      absl::StrAppend(&parts.back(), ",", part);
    }
  }
  return parts;
}

}  // namespace

absl::StatusOr<ScorerSource> ParseScorerArgument(absl::string_view text) {
  const auto error = [text](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("scorer argument: ", what, ": \"", text, "\""));
  };
  ScorerSource source;
  for (const std::string& part : SplitSettings(text)) {
    const std::pair<std::string, std::string> setting = absl::StrSplit(part, absl::MaxSplits('=', 1));
    const auto& [key, value] = setting;
    if (value.empty()) return error("expected TYPE=DIR[,tokenizer=DIR][,clip=DIR][,name=NAME]");
    if (source.folder.empty()) {
      RSIDIFF_ASSIGN_OR_RETURN(source.type, ParseScorerType(key));
      source.name = key;
      source.folder = value;
    } else if (key == "tokenizer") {
      source.tokenizer = value;
    } else if (key == "clip") {
      source.clip = value;
    } else {
      source.name = value;
    }
  }
  const bool aesthetic = FamilyOf(source.type) == ScorerFamily::kAesthetic;
  const std::string type = ScorerTypeName(source.type);
  if (aesthetic && source.clip.empty()) return error(type + " needs clip=DIR");
  if (aesthetic && !source.tokenizer.empty())
    return error(type + " reads no prompt, so it takes no tokenizer");
  if (!aesthetic && !source.clip.empty()) return error("clip= is for aesthetic and aesthetic-v2 only");
  return source;
}

}  // namespace rsidiff::worker
