#include "common/config/run_file.h"

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
  parsed.errors = ValidateRunSpec(read);
  Append(std::move(read.errors), parsed.errors);
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
