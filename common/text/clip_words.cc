#include "common/text/clip_words.h"

#include <unicode/utf8.h>

#include "absl/strings/match.h"
#include "common/text/unicode_class.h"
#include "common/text/unicode_text.h"

namespace rsidiff {
namespace {

// The code point at `offset` of well-formed `text`; moves `offset` behind it.
uint32_t NextCodePoint(absl::string_view text, size_t& offset) {
  uint32_t code_point;
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  U8_NEXT_UNSAFE(bytes, offset, code_point);
  return code_point;
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
  const std::string composed = NormalizeUtf8(text, NormalForm::kNfc);
  std::string result;
  result.reserve(composed.size());
  bool after_space = false;
  for (size_t offset = 0; offset < composed.size();) {
    const uint32_t code_point = NextCodePoint(composed, offset);
    const bool space = ClassOf(code_point) == UnicodeClass::kSpace;
    if (space) {
      if (!after_space) result.push_back(' ');
    } else {
      AppendLower(code_point, result);
    }
    after_space = space;
  }
  return result;
}

size_t ClipContractionLength(absl::string_view rest) {
  for (absl::string_view contraction : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (absl::StartsWith(rest, contraction)) return contraction.size();
  }
  return 0;
}

ClipRun ClipRunAt(absl::string_view text, size_t begin) {
  ClipRun run{begin, UnicodeClass::kOther};
  run.type = ClassOf(NextCodePoint(text, run.end));
  if (run.type == UnicodeClass::kLetter || run.type == UnicodeClass::kOther) {
    for (size_t next = run.end; next < text.size() && ClassOf(NextCodePoint(text, next)) == run.type;) {
      run.end = next;
    }
  }
  return run;
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
    if (const size_t length = ClipContractionLength(text.substr(begin))) {
      words.push_back(text.substr(begin, length));
      begin += length;
      continue;
    }
    const ClipRun run = ClipRunAt(text, begin);
    if (run.type != UnicodeClass::kSpace) words.push_back(text.substr(begin, run.end - begin));
    begin = run.end;
  }
  return words;
}

}  // namespace rsidiff
