#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "common/config/diagnostic.h"
#include "common/config/spec_reader.h"

namespace rsidiff {

/// The files that a pattern (`prompts/*.txt`) matches, in name order; `path` itself where it is none, or
/// names a file as it is.
std::vector<std::string> MatchingFiles(const std::string& path);

/// Makes every path of `read` absolute, relative ones being taken from `folder`, and replaces prompt
/// patterns (`prompts/*.txt`) by the files that match, in name order. A pattern without a match is
/// added to the errors.
void ResolvePaths(const std::filesystem::path& folder, ReadSpec& read);

/// What the spec's folders and files lack, all of it: model and scorer folders by the files that a
/// loader will want, prompt files by existence and ending. `spec` has absolute paths and defaults.
std::vector<Diagnostic> CheckPaths(const v1::RunSpec& spec, const Positions& positions);

}  // namespace rsidiff
