#include "common/text/unicode_class.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <iterator>

namespace rsidiff {
namespace {

struct Range {
  uint32_t first, last;
  UnicodeClass type;
};

// Letters and numbers that came with Unicode 15.1 and 16, which ICU 72 does not have yet.
constexpr UnicodeClass kL = UnicodeClass::kLetter;
constexpr UnicodeClass kN = UnicodeClass::kNumber;
constexpr Range kNewer[] = {
    {0x1C89, 0x1C8A, kL},   {0xA7CB, 0xA7CD, kL},   {0xA7DA, 0xA7DC, kL},   {0x105C0, 0x105F3, kL},
    {0x10D40, 0x10D49, kN}, {0x10D4A, 0x10D65, kL}, {0x10D6F, 0x10D85, kL}, {0x10EC2, 0x10EC4, kL},
    {0x11380, 0x11389, kL}, {0x1138B, 0x1138B, kL}, {0x1138E, 0x1138E, kL}, {0x11390, 0x113B5, kL},
    {0x113B7, 0x113B7, kL}, {0x113D1, 0x113D1, kL}, {0x113D3, 0x113D3, kL}, {0x116D0, 0x116E3, kN},
    {0x11BC0, 0x11BE0, kL}, {0x11BF0, 0x11BF9, kN}, {0x13460, 0x143FA, kL}, {0x16100, 0x1611D, kL},
    {0x16130, 0x16139, kN}, {0x16D40, 0x16D6C, kL}, {0x16D70, 0x16D79, kN}, {0x18CFF, 0x18CFF, kL},
    {0x1CCF0, 0x1CCF9, kN}, {0x1E5D0, 0x1E5ED, kL}, {0x1E5F0, 0x1E5F0, kL}, {0x1E5F1, 0x1E5FA, kN},
    {0x2EBF0, 0x2EE5D, kL}};

struct LowerRange {
  uint32_t first, last;
  int32_t shift;
};

// Capitals of Unicode 16 and 17.
constexpr LowerRange kNewerLower[] = {{0x1C89, 0x1C89, 1},      {0xA7CB, 0xA7CB, 0x264 - 0xA7CB},
                                      {0xA7CC, 0xA7CC, 1},      {0xA7CE, 0xA7CE, 1},
                                      {0xA7D2, 0xA7D2, 1},      {0xA7D4, 0xA7D4, 1},
                                      {0xA7DA, 0xA7DA, 1},      {0xA7DC, 0xA7DC, 0x19B - 0xA7DC},
                                      {0x10D50, 0x10D65, 0x20}, {0x16EA0, 0x16EB8, 0x1B}};

// The last of `ranges` that starts at or before `code_point`, if it reaches that far.
struct BertRange {
  uint32_t first, last;
  BertClass type;
};

// google-research/bert, tokenization.py: _is_chinese_char. One range is U+2B920, not U+2B820, in the
// `tokenizers` library.
constexpr BertClass kI = BertClass::kIdeograph;
constexpr BertRange kIdeographs[] = {{0x3400, 0x4DBF, kI},   {0x4E00, 0x9FFF, kI},   {0xF900, 0xFAFF, kI},
                                     {0x20000, 0x2A6DF, kI}, {0x2A700, 0x2B73F, kI}, {0x2B740, 0x2B81F, kI},
                                     {0x2B920, 0x2CEAF, kI}, {0x2F800, 0x2FA1F, kI}};

// Characters of Unicode 8 that later versions put in another category.
constexpr BertRange kReclassified[] = {{0x166D, 0x166D, BertClass::kPunctuation},
                                       {0x1734, 0x1734, BertClass::kAccent},
                                       {0x1885, 0x1886, BertClass::kOther},
                                       {0xA9BD, 0xA9BD, BertClass::kOther},
                                       {0x111C9, 0x111C9, BertClass::kPunctuation}};

bool WasInUnicode8(UChar32 character) {
  UVersionInfo age;
  u_charAge(character, age);
  return age[0] >= 1 && age[0] <= 8;
}

template <typename T, size_t N>
const T* Containing(const T (&ranges)[N], uint32_t code_point) {
  const T* next = std::upper_bound(std::begin(ranges), std::end(ranges), code_point,
                                   [](uint32_t value, const T& range) { return value < range.first; });
  if (next == std::begin(ranges) || code_point > (next - 1)->last) return nullptr;
  return next - 1;
}

}  // namespace

UnicodeClass ClassOf(uint32_t code_point) {
  const uint32_t category = U_MASK(u_charType(static_cast<UChar32>(code_point)));
  if (category & U_GC_L_MASK) return UnicodeClass::kLetter;
  if (category & U_GC_N_MASK) return UnicodeClass::kNumber;
  if (u_isUWhiteSpace(static_cast<UChar32>(code_point))) return UnicodeClass::kSpace;
  if (category & U_GC_CN_MASK) {
    if (const Range* range = Containing(kNewer, code_point)) return range->type;
  }
  return UnicodeClass::kOther;
}

BertClass BertClassOf(uint32_t code_point) {
  if (code_point == '\t' || code_point == '\n' || code_point == '\r') return BertClass::kSpace;
  if (code_point == 0xFFFD) return BertClass::kControl;
  if (const BertRange* range = Containing(kIdeographs, code_point)) return range->type;
  if (const BertRange* range = Containing(kReclassified, code_point)) return range->type;
  const auto character = static_cast<UChar32>(code_point);
  if (!WasInUnicode8(character)) return BertClass::kOther;
  const uint32_t category = U_MASK(u_charType(character));
  if (category & (U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK)) return BertClass::kControl;
  if (category & U_GC_MN_MASK) return BertClass::kAccent;
  if (category & U_GC_P_MASK) return BertClass::kPunctuation;
  if (u_isUWhiteSpace(character)) return BertClass::kSpace;
  const bool ascii_symbol = code_point > 0x20 && code_point < 0x7F && !u_isalnum(character);
  return ascii_symbol ? BertClass::kPunctuation : BertClass::kOther;
}

uint32_t SimpleLower(uint32_t code_point) {
  const uint32_t lower = static_cast<uint32_t>(u_tolower(static_cast<UChar32>(code_point)));
  if (lower != code_point) return lower;
  const LowerRange* range = Containing(kNewerLower, code_point);
  return range == nullptr ? code_point : code_point + range->shift;
}

}  // namespace rsidiff
