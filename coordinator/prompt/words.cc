#include "coordinator/prompt/words.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"

namespace rsidiff::coordinator {
namespace {

constexpr absl::string_view kBreaks = ".,;:!?()[]\"/&+|";

enum class Kind { kWord, kBlank, kBreak };

struct Character {
  Kind kind = Kind::kWord;
  size_t bytes = 1;
  absl::string_view text;  // what it reads as
};

Character Next(absl::string_view rest) {
  const char c = rest[0];
  if (absl::ascii_isspace(c)) return {Kind::kBlank, 1, {}};
  if (kBreaks.find(c) != absl::string_view::npos) return {Kind::kBreak, 1, {}};
  // Typographic dashes and quotes, U+2010 to U+201F.
  if (rest.size() >= 3 && rest.substr(0, 2) == "\xE2\x80") {
    const auto third = static_cast<unsigned char>(rest[2]);
    if (third == 0x90 || third == 0x91) return {Kind::kWord, 3, "-"};
    if (third == 0x98 || third == 0x99) return {Kind::kWord, 3, "'"};
    if (third >= 0x90 && third <= 0x9F) return {Kind::kBreak, 3, {}};
  }
  return {Kind::kWord, 1, rest.substr(0, 1)};
}

bool IsEdge(char c) {
  // Signs around a word (#tag, *, 50%) are none of it.
  return absl::ascii_ispunct(static_cast<unsigned char>(c));
}

bool HasCapital(absl::string_view word) {
  return std::any_of(word.begin(), word.end(), absl::ascii_isupper);
}

}  // namespace

std::vector<Word> SplitWords(absl::string_view prompt) {
  const bool shouted = std::none_of(prompt.begin(), prompt.end(), absl::ascii_islower);
  std::vector<Word> words;
  std::string text;
  bool broken = false;
  const auto finish = [&] {
    absl::string_view word = text;
    while (!word.empty() && IsEdge(word.front())) word.remove_prefix(1);
    while (!word.empty() && IsEdge(word.back())) word.remove_suffix(1);
    if (!word.empty()) {
      const bool capital = HasCapital(words.empty() ? word.substr(1) : word);
      words.push_back({absl::AsciiStrToLower(word), broken && !words.empty(), capital && !shouted});
      broken = false;
    }
    text.clear();
  };
  while (!prompt.empty()) {
    const Character next = Next(prompt);
    prompt.remove_prefix(next.bytes);
    if (next.kind == Kind::kWord) {
      text.append(next.text.data(), next.text.size());
      continue;
    }
    finish();
    if (next.kind == Kind::kBreak) broken = true;
  }
  finish();
  return words;
}

}  // namespace rsidiff::coordinator
