#include "worker/command/sample_lines.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace rsidiff::worker {
namespace {

absl::StatusOr<std::string> StringField(const SampleLine& line, const char* key) {
  const auto field = line.json.find(key);
  if (field == line.json.end() || !field->is_string()) {
    return absl::InvalidArgumentError(absl::StrCat(line.where, ": no string \"", key, "\""));
  }
  return field->get<std::string>();
}

}  // namespace

absl::StatusOr<std::vector<SampleLine>> ReadSampleLines(const std::filesystem::path& file) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
  std::vector<SampleLine> lines;
  int number = 0;
  for (absl::string_view content : absl::StrSplit(text, '\n')) {
    ++number;
    if (absl::StripAsciiWhitespace(content).empty()) continue;
    SampleLine line;
    line.where = absl::StrCat(file.string(), ":", number);
    line.json =
        nlohmann::ordered_json::parse(content.begin(), content.end(), nullptr, /*allow_exceptions=*/false);
    if (!line.json.is_object())
      return absl::InvalidArgumentError(absl::StrCat(line.where, ": not a JSON object"));
    RSIDIFF_ASSIGN_OR_RETURN(line.prompt, StringField(line, "prompt"));
    RSIDIFF_ASSIGN_OR_RETURN(const std::string picture, StringField(line, "file"));
    line.picture = file.parent_path() / picture;  // an absolute one stays as it is
    lines.push_back(std::move(line));
  }
  return lines;
}

absl::Status WriteSampleLines(const std::filesystem::path& file, const std::vector<SampleLine>& lines) {
  std::string text;
  for (const SampleLine& line : lines) absl::StrAppend(&text, line.json.dump(), "\n");
  return WriteFileAtomically(file, text);
}

}  // namespace rsidiff::worker
