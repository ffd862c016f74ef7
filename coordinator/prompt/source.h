#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rsidiff::coordinator {

/// A longer prompt is refused; it is no prompt but a wrong file.
inline constexpr size_t kMaxPromptBytes = 64 * 1024;

/// Distinct prompts in the order of the files.
struct LoadedPrompts {
  std::vector<std::string> prompts;
  size_t duplicates = 0;              // exact ones, dropped
  std::vector<std::string> warnings;  // `FILE:LINE: message`
};

/// Reads prompts from the text of one file; the ending of `path` says how:
///   .txt   a prompt a line
///   .tsv   no quoting (PartiPrompts). The first line is a header if one of its columns is called prompt,
///          caption or text: that has the prompts. Else the first column has them
///   .csv   INDEX,PROMPT: everything after the first comma, no quoting (HPD). A first line that does not
///          begin with a number is a header; if it has one column, called prompt, caption or text, the whole
///          row is the prompt. A file whose every row fills three or more columns of its header is refused;
///          one whose prompts are mostly in quotes gets a warning
///   .json  a list of texts, or of objects that have a text under prompt, caption or text
/// White space around a prompt is taken off and blank ones are skipped. INVALID_ARGUMENT names file and
/// line (for JSON: the element): not UTF-8, malformed, a zero byte, a prompt over kMaxPromptBytes, or no
/// prompt at all. A prompt that the text encoder is bound to cut off is a warning.
absl::StatusOr<LoadedPrompts> ParsePrompts(absl::string_view text, const std::filesystem::path& path);

/// Reads several files; a prompt that an earlier file has is a duplicate too. NOT_FOUND names the file.
absl::StatusOr<LoadedPrompts> ReadPromptFiles(const std::vector<std::filesystem::path>& files);

}  // namespace rsidiff::coordinator
