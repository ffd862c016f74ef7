#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/config/diagnostic.h"
#include "common/config/spec_reader.h"

namespace rsidiff {

/// A run file that can be run: complete, in range, without contradictions.
struct RunFile {
  std::string path;  // as given, for messages
  v1::RunSpec spec;  // defaults filled in, paths absolute
  Positions positions;
  std::vector<Diagnostic> warnings;
};

/// Parses the text of a run file. Relative paths are taken from the folder of `path`; files are looked
/// up only to expand prompt patterns. INVALID_ARGUMENT holds every error, one a line, as
/// `FILE:LINE:COLUMN: message`.
absl::StatusOr<RunFile> ParseRunFile(absl::string_view text, const std::filesystem::path& path);

/// Reads a run file, applies `overrides` ("KEY.KEY=VALUE", override.h) in order, parses it and checks that
/// the folders and files that it names are there and whole; all errors are reported together. NOT_FOUND:
/// there is no such run file.
absl::StatusOr<RunFile> LoadRunFile(const std::filesystem::path& path,
                                    const std::vector<std::string>& overrides);

/// A complete spec with `overrides` applied as to a run file, checked as one but for the files that it names.
/// INVALID_ARGUMENT holds every error, one a line, as `NAME: message`.
absl::StatusOr<v1::RunSpec> OverrideRunSpec(const v1::RunSpec& spec,
                                            const std::vector<std::string>& overrides,
                                            const std::string& name);

}  // namespace rsidiff
