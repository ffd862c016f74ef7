#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace rsidiff {

/// What the named reference "&NAME;" stands for, UTF-8; none for an unknown name (without "&" and ";").
std::optional<absl::string_view> NamedCharacter(absl::string_view name);

/// As above, for the 106 names that the HTML standard also accepts without a semicolon.
std::optional<absl::string_view> NamedCharacterWithoutSemicolon(absl::string_view name);

/// What a numeric reference stands for by the HTML standard: windows-1252 for 0x80 to 0x9F, U+FFFD for what
/// is no character, nothing for characters that must not be there. UTF-8.
std::string NumericCharacter(uint32_t number);

/// Replaces named and numeric character references as the HTML standard parses them, with and without
/// semicolon: the result of Python's html.unescape. `text` is UTF-8.
std::string UnescapeHtml(absl::string_view text);

/// windows-1252's character for a byte of 0x80 to 0x9F, or the byte itself where it has none.
uint32_t Windows1252(uint32_t byte);

}  // namespace rsidiff
