#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace rsidiff {

/// Offset of the first byte that is not well-formed UTF-8 (overlong forms, surrogates and code points
/// above U+10FFFF are not), or nothing when all of `text` is.
std::optional<size_t> FirstInvalidUtf8(absl::string_view text);

/// The line, from 1, that the byte at `offset` stands in.
size_t LineOf(absl::string_view text, size_t offset);

/// INVALID_ARGUMENT as "FILE:LINE: not valid UTF-8" where `text`, which `file` holds, is not.
absl::Status CheckUtf8(absl::string_view text, absl::string_view file);

/// Takes the first code point off `text`. A malformed byte counts as U+FFFD of one byte. `text` must
/// not be empty.
uint32_t TakeCodePoint(absl::string_view& text);

/// Enough of a text to recognise it by in a message: at most `most_bytes`, of UTF-8 only whole code points,
/// and "..." where there is more.
std::string Excerpt(absl::string_view text, size_t most_bytes = 80);

}  // namespace rsidiff
