#include "common/config/run_file.h"

#include <algorithm>
#include <utility>

#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/config/defaults.h"
#include "common/config/run_paths.h"
#include "common/config/validate.h"
#include "common/config/yaml_tree.h"

namespace rsidiff {
namespace {

namespace fs = std::filesystem;

struct Parsed {
  RunFile file;
  std::vector<Diagnostic> errors;
  bool is_yaml = false;
};

void Append(std::vector<Diagnostic> more, std::vector<Diagnostic>& all) {
  all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

// Without those at places that have an error already: a value that could not be read is not missing too.
std::vector<Diagnostic> NewPlaces(std::vector<Diagnostic> more, const std::vector<Diagnostic>& known) {
  const auto is_known = [&](const Diagnostic& diagnostic) {
    return std::any_of(known.begin(), known.end(), [&](const Diagnostic& other) {
      return other.position.line == diagnostic.position.line && other.position.line > 0 &&
             other.position.column == diagnostic.position.column;
    });
  };
  more.erase(std::remove_if(more.begin(), more.end(), is_known), more.end());
  return more;
}

Parsed Parse(absl::string_view text, const fs::path& path) {
  Parsed parsed;
  parsed.file.path = path.string();
  YamlDocument document = ParseYaml(text);
  if (document.root == nullptr) {
    parsed.errors = std::move(document.errors);
    return parsed;
  }
  parsed.is_yaml = true;
  ReadSpec read = ReadRunSpec(*document.root);
  ResolvePaths(fs::absolute(path).parent_path(), read);
  FillDefaults(read.spec);
  parsed.errors = std::move(read.errors);
  Append(NewPlaces(ValidateRunSpec(read.spec, read.positions), parsed.errors), parsed.errors);
  parsed.file.warnings = WarnAboutRunSpec(read.spec, read.positions);
  parsed.file.spec = std::move(read.spec);
  parsed.file.positions = std::move(read.positions);
  return parsed;
}

absl::StatusOr<RunFile> Finish(Parsed parsed) {
  if (!parsed.errors.empty()) {
    return absl::InvalidArgumentError(FormatDiagnostics(parsed.file.path, std::move(parsed.errors)));
  }
  return std::move(parsed.file);
}

}  // namespace

absl::StatusOr<RunFile> ParseRunFile(absl::string_view text, const fs::path& path) {
  return Finish(Parse(text, path));
}

absl::StatusOr<RunFile> LoadRunFile(const fs::path& path) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  Parsed parsed = Parse(text, path);
  if (parsed.is_yaml) Append(CheckPaths(parsed.file.spec, parsed.file.positions), parsed.errors);
  return Finish(std::move(parsed));
}

}  // namespace rsidiff
