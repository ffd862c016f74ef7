#include "common/text/html_entities.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/utf8.h"
#include "common/text/unicode_text.h"

namespace rsidiff {
namespace {

struct Entity {
  const char* name;
  const char* text;
  bool without_semicolon;
};

constexpr Entity kEntities[] = {
#include "common/text/html_entity_table.inc"
};

// Of the names that stand without a semicolon.
constexpr size_t kShortestName = 2;
constexpr size_t kLongestName = 8;
// Characters of a name that are looked at.
constexpr int kMaxName = 32;
constexpr uint32_t kLastCodePoint = 0x10FFFF;

const Entity* Find(absl::string_view name) {
  const Entity* found =
      std::lower_bound(std::begin(kEntities), std::end(kEntities), name,
                       [](const Entity& entity, absl::string_view wanted) { return entity.name < wanted; });
  return found != std::end(kEntities) && found->name == name ? found : nullptr;
}

bool MustNotBeThere(uint32_t number) {
  return (number >= 0x1 && number <= 0x8) || number == 0xB || (number >= 0xE && number <= 0x1F) ||
         number == 0x7F || (number >= 0xFDD0 && number <= 0xFDEF) || (number & 0xFFFE) == 0xFFFE;
}

/// Takes "#123;" or "#x7b" off the front; none where there is no digit, and then `rest` is as it was.
std::optional<std::string> TakeNumeric(absl::string_view& rest) {
  absl::string_view digits = rest.substr(1);
  const bool hexadecimal = absl::StartsWithIgnoreCase(digits, "x");
  if (hexadecimal) digits.remove_prefix(1);
  size_t length = 0;
  uint64_t number = 0;
  for (; length < digits.size(); ++length) {
    const char c = digits[length];
    if (hexadecimal ? !absl::ascii_isxdigit(c) : !absl::ascii_isdigit(c)) break;
    const int value = absl::ascii_isdigit(c) ? c - '0' : absl::ascii_tolower(c) - 'a' + 10;
    number = std::min<uint64_t>(number * (hexadecimal ? 16 : 10) + value, uint64_t{kLastCodePoint} + 1);
  }
  if (length == 0) return std::nullopt;
  rest = digits.substr(length);
  absl::ConsumePrefix(&rest, ";");
  return NumericCharacter(static_cast<uint32_t>(number));
}

/// What stands at the front up to what cannot be of a name, at most kMaxName characters, with a semicolon.
absl::string_view NameAtFront(absl::string_view text) {
  absl::string_view rest = text;
  for (int i = 0; i < kMaxName && !rest.empty(); ++i) {
    if (absl::StrContains("\t\n\f <&#;", rest.front())) break;
    TakeCodePoint(rest);
  }
  if (rest.size() < text.size()) absl::ConsumePrefix(&rest, ";");
  return text.substr(0, text.size() - rest.size());
}

/// Takes a named reference off the front; none where there is no known name.
std::optional<absl::string_view> TakeNamed(absl::string_view& rest) {
  const absl::string_view name = NameAtFront(rest);
  const absl::string_view bare = absl::StripSuffix(name, ";");
  if (const auto whole =
          bare.size() < name.size() ? NamedCharacter(bare) : NamedCharacterWithoutSemicolon(bare)) {
    rest.remove_prefix(name.size());
    return whole;
  }
  for (size_t length = std::min(name.size() - std::min<size_t>(name.size(), 1), kLongestName);
       length >= kShortestName; --length) {
    if (const auto prefix = NamedCharacterWithoutSemicolon(name.substr(0, length))) {
      rest.remove_prefix(length);
      return prefix;
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<absl::string_view> NamedCharacter(absl::string_view name) {
  const Entity* entity = Find(name);
  if (entity == nullptr) return std::nullopt;
  return entity->text;
}

std::optional<absl::string_view> NamedCharacterWithoutSemicolon(absl::string_view name) {
  const Entity* entity = Find(name);
  if (entity == nullptr || !entity->without_semicolon) return std::nullopt;
  return entity->text;
}

uint32_t Windows1252(uint32_t byte) {
  constexpr uint16_t kTable[32] = {0x20AC, 0x81,   0x201A, 0x192,  0x201E, 0x2026, 0x2020, 0x2021,
                                   0x2C6,  0x2030, 0x160,  0x2039, 0x152,  0x8D,   0x17D,  0x8F,
                                   0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                   0x2DC,  0x2122, 0x161,  0x203A, 0x153,  0x9D,   0x17E,  0x178};
  return byte >= 0x80 && byte <= 0x9F ? kTable[byte - 0x80] : byte;
}

std::string NumericCharacter(uint32_t number) {
  std::string text;
  if (number == 0 || number > kLastCodePoint || (number >= 0xD800 && number <= 0xDFFF)) {
    AppendUtf8(0xFFFD, text);
  } else if (!MustNotBeThere(number)) {
    AppendUtf8(Windows1252(number), text);
  }
  return text;
}

std::string UnescapeHtml(absl::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (absl::string_view rest = text; !rest.empty();) {
    const size_t ampersand = std::min(rest.find('&'), rest.size());
    absl::StrAppend(&result, rest.substr(0, ampersand));
    rest.remove_prefix(ampersand);
    if (rest.empty()) break;
    rest.remove_prefix(1);
    if (absl::StartsWith(rest, "#")) {
      const std::optional<std::string> character = TakeNumeric(rest);
      absl::StrAppend(&result, character.value_or("&"));
    } else {
      absl::StrAppend(&result, TakeNamed(rest).value_or("&"));
    }
  }
  return result;
}

}  // namespace rsidiff
