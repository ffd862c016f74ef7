#include "common/text/open_clip_words.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "common/base/utf8.h"
#include "common/text/clip_words.h"
#include "common/text/html_entities.h"
#include "common/text/text_repair.h"
#include "common/text/unicode_class.h"
#include "common/text/unicode_text.h"

namespace rsidiff {
namespace {

// open_clip's pattern ignores case, and the long s is a small s to that.
constexpr absl::string_view kLongS = "'\xC5\xBF";
// U+0345 combining Greek ypogegrammeni: a mark, and a small iota where case is ignored. So the pattern takes
// it for no letter and for no other sign either, and drops it.
constexpr absl::string_view kDropped = "\xCD\x85";

size_t FixedWordLength(absl::string_view rest) {
  for (absl::string_view word :
       {absl::string_view(kOpenClipBegin), absl::string_view(kOpenClipEnd), kLongS}) {
    if (absl::StartsWith(rest, word)) return word.size();
  }
  return ClipContractionLength(rest);
}

// What Python's str.split() splits at.
bool IsPythonSpace(uint32_t code_point) {
  return ClassOf(code_point) == UnicodeClass::kSpace || (code_point >= 0x1C && code_point <= 0x1F);
}

std::string JoinAtSpaces(absl::string_view text) {
  std::string joined;
  bool pending = false;
  while (!text.empty()) {
    const uint32_t code_point = TakeCodePoint(text);
    if (IsPythonSpace(code_point)) {
      pending = !joined.empty();
      continue;
    }
    if (pending) joined.push_back(' ');
    pending = false;
    AppendUtf8(code_point, joined);
  }
  return joined;
}

}  // namespace

std::string NormalizeOpenClipText(absl::string_view text) {
  return LowerUtf8WithFinalSigma(JoinAtSpaces(UnescapeHtml(UnescapeHtml(RepairText(text)))));
}

std::vector<absl::string_view> SplitOpenClipWords(absl::string_view text) {
  std::vector<absl::string_view> words;
  for (size_t begin = 0; begin < text.size();) {
    if (const size_t length = FixedWordLength(text.substr(begin))) {
      words.push_back(text.substr(begin, length));
      begin += length;
      continue;
    }
    if (absl::StartsWith(text.substr(begin), kDropped)) {
      begin += kDropped.size();
      continue;
    }
    const ClipRun run = ClipRunAt(text, begin);
    const size_t end = std::min(run.end, text.find(kDropped, begin));
    if (run.type != UnicodeClass::kSpace) words.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return words;
}

}  // namespace rsidiff
