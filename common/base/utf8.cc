#include "common/base/utf8.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace rsidiff {
namespace {

struct Decoded {
  uint32_t code_point = 0xFFFD;
  size_t length = 1;
  bool valid = false;
};

// The Unicode standard's table 3-7 of well-formed byte sequences, as arithmetic.
Decoded Decode(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return {};
  uint32_t code_point = lead & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    code_point = code_point << 6 | (byte(i) & 0x3F);
  }
  const uint32_t smallest = length == 4 ? 0x10000 : length == 3 ? 0x800 : 0x80;
  const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
  if (code_point < smallest || code_point > 0x10FFFF || surrogate) return {};
  return {code_point, length, true};
}

}  // namespace

std::optional<size_t> FirstInvalidUtf8(absl::string_view text) {
  size_t offset = 0;
  while (offset < text.size()) {
    const Decoded decoded = Decode(text.substr(offset));
    if (!decoded.valid) return offset;
    offset += decoded.length;
  }
  return std::nullopt;
}

size_t LineOf(absl::string_view text, size_t offset) {
  text = text.substr(0, offset);
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
}

absl::Status CheckUtf8(absl::string_view text, absl::string_view file) {
  const std::optional<size_t> bad = FirstInvalidUtf8(text);
  if (!bad) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(file, ":", LineOf(text, *bad), ": not valid UTF-8"));
}

uint32_t TakeCodePoint(absl::string_view& text) {
  const Decoded decoded = Decode(text);
  text.remove_prefix(decoded.length);
  return decoded.code_point;
}

std::string Excerpt(absl::string_view text, size_t most_bytes) {
  if (text.size() <= most_bytes) return std::string(text);
  size_t length = most_bytes;
  while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) --length;
  return absl::StrCat(text.substr(0, length), "...");
}

}  // namespace rsidiff
