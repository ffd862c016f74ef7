#include "common/text/bert_words.h"

#include "common/base/utf8.h"
#include "common/text/unicode_class.h"
#include "common/text/unicode_text.h"

namespace rsidiff {
namespace {

std::string Clean(absl::string_view text, bool split_ideographs) {
  std::string cleaned;
  cleaned.reserve(text.size());
  while (!text.empty()) {
    const uint32_t code_point = TakeCodePoint(text);
    const BertClass type = BertClassOf(code_point);
    if (type == BertClass::kControl) continue;
    const bool alone = type == BertClass::kIdeograph && split_ideographs;
    if (type == BertClass::kSpace || alone) cleaned.push_back(' ');
    if (type != BertClass::kSpace) AppendUtf8(code_point, cleaned);
    if (alone) cleaned.push_back(' ');
  }
  return cleaned;
}

std::string StripAccents(absl::string_view text) {
  const std::string decomposed = NormalizeUtf8(text, NormalForm::kNfd);
  std::string stripped;
  stripped.reserve(decomposed.size());
  for (absl::string_view rest = decomposed; !rest.empty();) {
    const uint32_t code_point = TakeCodePoint(rest);
    if (BertClassOf(code_point) != BertClass::kAccent) AppendUtf8(code_point, stripped);
  }
  return stripped;
}

}  // namespace

std::string NormalizeBertText(absl::string_view text, const BertTextOptions& options) {
  std::string normalized = Clean(text, options.split_ideographs);
  if (options.strip_accents) normalized = StripAccents(normalized);
  return options.lower_case ? LowerUtf8(normalized) : normalized;
}

std::vector<absl::string_view> SplitBertWords(absl::string_view text) {
  std::vector<absl::string_view> words;
  const char* begin = text.data();  // of the word that `rest` stands in
  for (absl::string_view rest = text; !rest.empty();) {
    const char* here = rest.data();
    const BertClass type = BertClassOf(TakeCodePoint(rest));
    if (type != BertClass::kSpace && type != BertClass::kPunctuation) continue;
    if (here > begin) words.emplace_back(begin, here - begin);
    begin = rest.data();
    if (type == BertClass::kPunctuation) words.emplace_back(here, begin - here);
  }
  const char* end = text.data() + text.size();
  if (end > begin) words.emplace_back(begin, end - begin);
  return words;
}

}  // namespace rsidiff
