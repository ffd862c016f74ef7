#include "common/text/text_repair.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/utf8.h"
#include "common/text/html_entities.h"
#include "common/text/unicode_text.h"

namespace rsidiff {
namespace {

enum class References { kReplace, kKeep };

constexpr size_t kLongestReference = 24;  // between "&" or "&#" and ";"

struct Ligature {
  uint32_t code_point;
  absl::string_view letters;
};

constexpr Ligature kLigatures[] = {
    {0x132, "IJ"},         {0x133, "ij"},  {0x149, "\xCA\xBCn"}, {0x1C4, "D\xC5\xBD"}, {0x1C5, "D\xC5\xBE"},
    {0x1C6, "d\xC5\xBE"},  {0x1C7, "LJ"},  {0x1C8, "Lj"},        {0x1C9, "lj"},        {0x1CA, "NJ"},
    {0x1CB, "Nj"},         {0x1CC, "nj"},  {0x1F1, "DZ"},        {0x1F2, "Dz"},        {0x1F3, "dz"},
    {0xFB00, "ff"},        {0xFB01, "fi"}, {0xFB02, "fl"},       {0xFB03, "ffi"},      {0xFB04, "ffl"},
    {0xFB05, "\xC5\xBFt"}, {0xFB06, "st"}};

bool IsPlain(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= ' ' && c <= '~' && c != '&') || c == '\n' || c == '\t'; });
}

/// "NTILDE" for "ntilde": capitals of a name that HTML has in small letters only.
std::optional<std::string> CapitalReference(absl::string_view name) {
  const std::string small = absl::AsciiStrToLower(name);
  if (absl::AsciiStrToUpper(small) != name) return std::nullopt;
  const std::optional<absl::string_view> character = NamedCharacter(small);
  // "&AMPERSAND;" begins with HTML's own "&AMP".
  const std::string whole = absl::StrCat("&", name, ";");
  if (!character.has_value() || UnescapeHtml(whole) != whole) return std::nullopt;
  return UpperUtf8(*character);
}

std::optional<std::string> NumericReference(absl::string_view digits) {
  std::string character = UnescapeHtml(absl::StrCat("&#", digits, ";"));
  // What is left of one that was not taken whole; ftfy takes a reference to a semicolon for that too.
  if (absl::StrContains(character, ';')) return std::nullopt;
  return character;
}

/// `text` begins behind "&". Takes a reference with its semicolon off the front; none where there is none.
std::optional<std::string> TakeReference(absl::string_view& text) {
  absl::string_view name = text;
  const bool numeric = absl::ConsumePrefix(&name, "#");
  size_t length = 0;
  while (length < name.size() && absl::ascii_isalnum(name[length])) ++length;
  if (length == 0 || length > kLongestReference || length == name.size() || name[length] != ';') {
    return std::nullopt;
  }
  const absl::string_view rest = name.substr(length + 1);
  name = name.substr(0, length);
  std::optional<std::string> character;
  if (numeric) {
    character = NumericReference(name);
  } else if (const auto known = NamedCharacter(name)) {
    character = std::string(*known);
  } else {
    character = CapitalReference(name);
  }
  if (character.has_value()) text = rest;
  return character;
}

std::string ReplaceReferences(absl::string_view text) {
  std::string result;
  while (!text.empty()) {
    const char first = text.front();
    text.remove_prefix(1);
    std::optional<std::string> character;
    if (first == '&') character = TakeReference(text);
    if (character.has_value()) {
      result += *character;
    } else {
      result.push_back(first);
    }
  }
  return result;
}

/// C1 controls, ligatures, widths, quotes and line breaks: each looks at one character.
std::string ReplaceCharacters(absl::string_view text) {
  std::string result;
  while (!text.empty()) {
    const uint32_t code_point = Windows1252(TakeCodePoint(text));
    const auto* ligature =
        std::find_if(std::begin(kLigatures), std::end(kLigatures),
                     [=](const Ligature& known) { return known.code_point == code_point; });
    if (ligature != std::end(kLigatures)) {
      // The apostrophe among the letters is a curly quote.
      absl::StrAppend(&result, code_point == 0x149 ? absl::string_view("'n") : ligature->letters);
    } else if (code_point == 0x2BC || (code_point >= 0x2018 && code_point <= 0x201B)) {
      result.push_back('\'');
    } else if (code_point >= 0x201C && code_point <= 0x201F) {
      result.push_back('"');
    } else if (code_point == 0x2028 || code_point == 0x2029) {
      result.push_back('\n');
    } else if (code_point == '\r') {
      if (!absl::StartsWith(text, "\n")) result.push_back('\n');
    } else if (code_point == 0x3000 || (code_point >= 0xFF01 && code_point <= 0xFFEF)) {
      std::string wide;
      AppendUtf8(code_point, wide);
      result += NormalizeUtf8(wide, NormalForm::kNfkcCurrent);
    } else {
      AppendUtf8(code_point, result);
    }
  }
  return result;
}

/// Takes "ESC [ 1 ; 2 m" off the front, or nothing.
void SkipTerminalEscape(absl::string_view& text) {
  absl::string_view rest = text;
  if (!absl::ConsumePrefix(&rest, "\x1B[")) return;
  for (absl::string_view next = rest; !next.empty(); rest = next) {
    const uint32_t code_point = TakeCodePoint(next);
    if (code_point == ';' || u_isdigit(static_cast<UChar32>(code_point))) continue;
    if (code_point < 0x80 && absl::ascii_isalpha(static_cast<unsigned char>(code_point))) text = next;
    return;
  }
}

bool IsRemovedControl(uint32_t code_point) {
  return code_point <= 0x8 || code_point == 0xB || (code_point >= 0xE && code_point <= 0x1F) ||
         code_point == 0x7F || (code_point >= 0x206A && code_point <= 0x206F) || code_point == 0xFEFF ||
         (code_point >= 0xFFF9 && code_point <= 0xFFFC);
}

std::string RemoveTerminalEscapes(absl::string_view text) {
  std::string result;
  while (!text.empty()) {
    const size_t before = text.size();
    SkipTerminalEscape(text);
    if (text.size() < before) continue;
    result.push_back(text.front());
    text.remove_prefix(1);
  }
  return result;
}

std::string RemoveControls(absl::string_view text) {
  std::string result;
  while (!text.empty()) {
    const uint32_t code_point = TakeCodePoint(text);
    if (!IsRemovedControl(code_point)) AppendUtf8(code_point, result);
  }
  return result;
}

std::string RepairLine(absl::string_view line, References references) {
  if (IsPlain(line)) return std::string(line);
  std::string text(line);
  while (true) {
    std::string changed = references == References::kReplace ? ReplaceReferences(text) : text;
    changed = RemoveControls(RemoveTerminalEscapes(ReplaceCharacters(changed)));
    changed = NormalizeUtf8(changed, NormalForm::kNfcCurrent);
    if (changed == text) return text;
    text = std::move(changed);
  }
}

}  // namespace

std::string RepairText(absl::string_view text) {
  std::string result;
  References references = References::kReplace;
  while (!text.empty()) {
    const size_t length = std::min(text.find('\n'), text.size() - 1) + 1;
    const absl::string_view line = text.substr(0, length);
    // Markup is no text with references; nor is what follows it.
    if (absl::StrContains(line, '<')) references = References::kKeep;
    result += RepairLine(line, references);
    text.remove_prefix(length);
  }
  return result;
}

}  // namespace rsidiff
