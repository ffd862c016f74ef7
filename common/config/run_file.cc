#include "common/config/run_file.h"

#include <utility>

#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/config/defaults.h"
#include "common/config/override.h"
#include "common/config/run_paths.h"
#include "common/config/validate.h"
#include "common/config/yaml_tree.h"
#include "common/config/yaml_writer.h"

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

absl::StatusOr<Parsed> Parse(absl::string_view text, const fs::path& path,
                             const std::vector<std::string>& overrides) {
  Parsed parsed;
  parsed.file.path = path.string();
  YamlDocument document = ParseYaml(text);
  if (document.root == nullptr) {
    parsed.errors = std::move(document.errors);
    return parsed;
  }
  parsed.is_yaml = true;
  for (const std::string& assignment : overrides) {
    RSIDIFF_ASSIGN_OR_RETURN(document.root, Override(document.root, assignment));
  }
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
  RSIDIFF_ASSIGN_OR_RETURN(Parsed parsed, Parse(text, path, {}));
  return Finish(std::move(parsed));
}

absl::StatusOr<RunFile> LoadRunFile(const fs::path& path, const std::vector<std::string>& overrides) {
  RSIDIFF_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  RSIDIFF_ASSIGN_OR_RETURN(Parsed parsed, Parse(text, path, overrides));
  if (parsed.is_yaml) Append(CheckPaths(parsed.file.spec, parsed.file.positions), parsed.errors);
  return Finish(std::move(parsed));
}

absl::StatusOr<v1::RunSpec> OverrideRunSpec(const v1::RunSpec& spec,
                                            const std::vector<std::string>& overrides,
                                            const std::string& name) {
  RSIDIFF_ASSIGN_OR_RETURN(Parsed parsed, Parse(RunSpecToYaml(spec), name, overrides));
  for (Diagnostic& error : parsed.errors) error.position = {};  // in a text that nobody sees
  RSIDIFF_ASSIGN_OR_RETURN(RunFile file, Finish(std::move(parsed)));
  return std::move(file.spec);
}

}  // namespace rsidiff
