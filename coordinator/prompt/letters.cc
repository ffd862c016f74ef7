#include "coordinator/prompt/letters.h"

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "coordinator/prompt/letter_model.h"

namespace rsidiff::coordinator {
namespace {

// Letters that cost this much are still a word's, and not any more.
constexpr double kPlausibleBits = 5.2;
constexpr double kImplausibleBits = 7.5;
// Two letters tell nothing.
constexpr size_t kFewestLetters = 3;
// Letters and digits may change so often in a model number (4k60fps), and no word is one where they change
// more.
constexpr int kModelChanges = 3;
constexpr absl::string_view kSigns = "#%^*$@~\\<>={}";

// Keys beside each other. The upper row is left out: it has most of the vowels, and names.
constexpr absl::string_view kKeyRows[] = {"asdfghjkl", "zxcvbnm"};
constexpr size_t kShortestKeyRun = 4;
// Of a word's plausibility: salad and Kafka are words of one row too.
constexpr double kKeyRunPlausible = 0.6;
// Different letters without a vowel: more than in tsk, pfft and https.
constexpr size_t kConsonants = 5;

bool HasOnly(absl::string_view word, absl::string_view letters) {
  return word.find_first_not_of(letters) == absl::string_view::npos;
}

// Digits and letters side by side.
int CountChanges(absl::string_view word) {
  int changes = 0;
  for (size_t i = 1; i < word.size(); ++i) {
    changes += (absl::ascii_isalpha(word[i - 1]) && absl::ascii_isdigit(word[i])) ||
               (absl::ascii_isdigit(word[i - 1]) && absl::ascii_isalpha(word[i]));
  }
  return changes;
}

// 1920x1080, 3x3x3.
bool IsSize(absl::string_view word) {
  return HasOnly(word, "0123456789x") && absl::ascii_isdigit(word.front()) &&
         absl::ascii_isdigit(word.back()) && word.find("xx") == absl::string_view::npos;
}

// No letter stands beside another: r2d2, h2o.
bool HasLoneLetters(absl::string_view word) {
  return std::adjacent_find(word.begin(), word.end(), [](char a, char b) {
           return absl::ascii_isalpha(a) && absl::ascii_isalpha(b);
         }) == word.end();
}

// Keys of one row (asdfgh), or consonants only (sdkfjh).
bool IsKeyboardNoise(absl::string_view letters, double plausible) {
  if (plausible >= 1) return false;
  const bool one_row = letters.size() >= kShortestKeyRun && plausible <= kKeyRunPlausible &&
                       std::any_of(std::begin(kKeyRows), std::end(kKeyRows),
                                   [&](absl::string_view row) { return HasOnly(letters, row); });
  const std::set<char> different(letters.begin(), letters.end());
  return one_row || (different.size() >= kConsonants && HasOnly(letters, "bcdfghjklmnpqrstvwxz"));
}

double Plausible(absl::string_view letters) {
  const double bits = LetterBits(letters);
  return std::clamp((kImplausibleBits - bits) / (kImplausibleBits - kPlausibleBits), 0.0, 1.0);
}

}  // namespace

bool HasDigit(absl::string_view word) {
  return std::any_of(word.begin(), word.end(), absl::ascii_isdigit);
}

Letters JudgeLetters(absl::string_view word) {
  const Letters noise{0, word.size(), true};
  if (word.find_first_of(kSigns) != absl::string_view::npos) return noise;
  const int changes = CountChanges(word);
  if (changes >= 2) {
    if (IsSize(word)) return {};
    if (changes > kModelChanges) return noise;
    return HasLoneLetters(word) ? Letters{} : Letters{0, word.size(), false};
  }
  Letters judged{0, 0, false};
  for (size_t i = 0; i < word.size();) {
    size_t end = i;
    while (end < word.size() && absl::ascii_islower(word[end])) ++end;
    if (end - i >= kFewestLetters) {
      const absl::string_view letters = word.substr(i, end - i);
      const double plausible = Plausible(letters);
      if (IsKeyboardNoise(letters, plausible)) return noise;
      judged.plausible += plausible * static_cast<double>(letters.size());
      judged.judged += letters.size();
    }
    i = std::max(end, i + 1);
  }
  if (judged.judged == 0) return {};
  judged.plausible /= static_cast<double>(judged.judged);
  return judged;
}

}  // namespace rsidiff::coordinator
