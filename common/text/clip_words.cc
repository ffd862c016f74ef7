#include "common/text/clip_words.h"

#include <unicode/normalizer2.h>
#include <unicode/uniset.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "common/text/unicode_class.h"

namespace rsidiff {
namespace {

bool IsAscii(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

const icu::Normalizer2& Nfc() {
  static const icu::Normalizer2* const normalizer = [] {
    UErrorCode error = U_ZERO_ERROR;
    const auto* age = new icu::UnicodeSet(icu::UnicodeString::fromUTF8("[:age=9.0:]"), error);
    return new icu::FilteredNormalizer2(*icu::Normalizer2::getNFCInstance(error), *age);
  }();
  return *normalizer;
}

// `text` in NFC, malformed bytes replaced.
std::string ComposeUtf8(absl::string_view text) {
  const icu::UnicodeString utf16 =
      icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
  UErrorCode error = U_ZERO_ERROR;
  std::string composed;
  Nfc().normalize(utf16, error).toUTF8String(composed);
  return composed;
}

void AppendUtf8(uint32_t code_point, std::string& text) {
  uint8_t bytes[U8_MAX_LENGTH];
  int32_t length = 0;
  U8_APPEND_UNSAFE(bytes, length, code_point);
  text.append(reinterpret_cast<const char*>(bytes), length);
}

// The code point at `offset` of well-formed `text`; moves `offset` behind it.
uint32_t NextCodePoint(absl::string_view text, size_t& offset) {
  uint32_t code_point;
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  U8_NEXT_UNSAFE(bytes, offset, code_point);
  return code_point;
}

size_t ContractionLength(absl::string_view rest) {
  for (absl::string_view contraction : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (absl::StartsWith(rest, contraction)) return contraction.size();
  }
  return 0;
}

// These two spellings are words of the pattern whatever the tokenizer's special tokens are; they get here
// only where they are no special token of its, and then fall in three: "<|", the name, "|>".
size_t SpelledSpecialLength(absl::string_view rest) {
  for (absl::string_view special : {"<|startoftext|>", "<|endoftext|>"}) {
    if (absl::StartsWith(rest, special)) return special.size();
  }
  return 0;
}

}  // namespace

std::string NormalizeClipText(absl::string_view text) {
  const std::string composed = IsAscii(text) ? std::string(text) : ComposeUtf8(text);
  std::string result;
  result.reserve(composed.size());
  bool after_space = false;
  for (size_t offset = 0; offset < composed.size();) {
    const uint32_t code_point = NextCodePoint(composed, offset);
    const bool space = ClassOf(code_point) == UnicodeClass::kSpace;
    if (space) {
      if (!after_space) result.push_back(' ');
    } else if (code_point == 0x130) {
      result.append("i\xCC\x87");  // i and U+0307: the one character with a longer lower case
    } else {
      AppendUtf8(SimpleLower(code_point), result);
    }
    after_space = space;
  }
  return result;
}

std::vector<absl::string_view> SplitClipWords(absl::string_view text) {
  std::vector<absl::string_view> words;
  for (size_t begin = 0; begin < text.size();) {
    if (const size_t length = SpelledSpecialLength(text.substr(begin))) {
      words.push_back(text.substr(begin, 2));
      words.push_back(text.substr(begin + 2, length - 4));
      words.push_back(text.substr(begin + length - 2, 2));
      begin += length;
      continue;
    }
    if (const size_t length = ContractionLength(text.substr(begin))) {
      words.push_back(text.substr(begin, length));
      begin += length;
      continue;
    }
    size_t end = begin;
    const UnicodeClass type = ClassOf(NextCodePoint(text, end));
    if (type == UnicodeClass::kLetter || type == UnicodeClass::kOther) {
      for (size_t next = end; next < text.size() && ClassOf(NextCodePoint(text, next)) == type;) end = next;
    }
    if (type != UnicodeClass::kSpace) words.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return words;
}

}  // namespace rsidiff
