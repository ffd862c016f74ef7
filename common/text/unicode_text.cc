#include "common/text/unicode_text.h"

#include <unicode/locid.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <algorithm>

#include "common/base/utf8.h"
#include "common/text/unicode_class.h"

namespace rsidiff {
namespace {

bool IsAscii(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// `form` for the characters of Unicode 9; lives as long as the process.
const icu::Normalizer2* MakeUnicode9Normalizer(NormalForm form) {
  UErrorCode error = U_ZERO_ERROR;
  const auto* age = new icu::UnicodeSet(icu::UnicodeString::fromUTF8("[:age=9.0:]"), error);
  return new icu::FilteredNormalizer2(form == NormalForm::kNfc ? *icu::Normalizer2::getNFCInstance(error)
                                                               : *icu::Normalizer2::getNFDInstance(error),
                                      *age);
}

const icu::Normalizer2& NormalizerOf(NormalForm form) {
  static const icu::Normalizer2* const composing = MakeUnicode9Normalizer(NormalForm::kNfc);
  static const icu::Normalizer2* const decomposing = MakeUnicode9Normalizer(NormalForm::kNfd);
  UErrorCode error = U_ZERO_ERROR;
  switch (form) {
    case NormalForm::kNfd:
      return *decomposing;
    case NormalForm::kNfcCurrent:
      return *icu::Normalizer2::getNFCInstance(error);
    case NormalForm::kNfkcCurrent:
      return *icu::Normalizer2::getNFKCInstance(error);
    case NormalForm::kNfc:
      break;
  }
  return *composing;
}

icu::UnicodeString ToUtf16(absl::string_view text) {
  return icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
}

}  // namespace

std::string NormalizeUtf8(absl::string_view text, NormalForm form) {
  if (IsAscii(text)) return std::string(text);
  const icu::UnicodeString utf16 = ToUtf16(text);
  UErrorCode error = U_ZERO_ERROR;
  std::string normalized;
  NormalizerOf(form).normalize(utf16, error).toUTF8String(normalized);
  return normalized;
}

std::string LowerUtf8(absl::string_view text) {
  std::string lower;
  lower.reserve(text.size());
  while (!text.empty()) AppendLower(TakeCodePoint(text), lower);
  return lower;
}

std::string LowerUtf8WithFinalSigma(absl::string_view text) {
  std::string lower;
  ToUtf16(text).toLower(icu::Locale::getRoot()).toUTF8String(lower);
  return lower;
}

std::string UpperUtf8(absl::string_view text) {
  std::string upper;
  ToUtf16(text).toUpper(icu::Locale::getRoot()).toUTF8String(upper);
  return upper;
}

void AppendLower(uint32_t code_point, std::string& text) {
  if (code_point == 0x130) {
    text.append("i\xCC\x87");  // i and U+0307: the one character with a longer lower case
  } else {
    AppendUtf8(SimpleLower(code_point), text);
  }
}

void AppendUtf8(uint32_t code_point, std::string& text) {
  uint8_t bytes[U8_MAX_LENGTH];
  int32_t length = 0;
  U8_APPEND_UNSAFE(bytes, length, code_point);
  text.append(reinterpret_cast<const char*>(bytes), length);
}

}  // namespace rsidiff
