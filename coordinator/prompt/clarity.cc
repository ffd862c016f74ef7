#include "coordinator/prompt/clarity.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/prompt/contradiction.h"
#include "coordinator/prompt/letter_model.h"
#include "coordinator/prompt/words.h"

namespace rsidiff::coordinator {
namespace {

// A word that other prompts use so often needs no judgement of its letters.
constexpr uint64_t kKnownCount = 3;
// Of a word that other prompts use so often, a word that nobody else uses may be a slip.
constexpr uint64_t kUsualCount = 20;
constexpr size_t kShortestSlip = 4;
constexpr ptrdiff_t kManySlips = 3;
// Letters that cost this much are still a word's, and not any more.
constexpr double kPlausibleBits = 5.2;
constexpr double kImplausibleBits = 7.5;
// Added to observed and expected counts: the weight of having seen little.
constexpr double kPrior = 0.5;
// The shortest prompt that has an order.
constexpr size_t kOrderWords = 3;
constexpr absl::string_view kSigns = "#%^*$@~\\<>={}";

// How often a prompt's own words occur in itself, to be taken off the pool's counts.
template <typename Key>
class OwnCounts {
 public:
  explicit OwnCounts(std::vector<Key> keys) : keys_(std::move(keys)) {
    std::sort(keys_.begin(), keys_.end());
  }
  uint64_t operator[](const Key& key) const {
    const auto range = std::equal_range(keys_.begin(), keys_.end(), key);
    return static_cast<uint64_t>(range.second - range.first);
  }

 private:
  std::vector<Key> keys_;
};

OwnCounts<uint32_t> CountWords(absl::Span<const Token> tokens) {
  std::vector<uint32_t> words = {Pool::kBeginning, Pool::kEnd};
  for (const Token& token : tokens) words.push_back(token.word);
  return OwnCounts<uint32_t>(std::move(words));
}

// Share of the words that do not repeat the one, two or three words right before them.
double Variety(absl::Span<const Token> tokens) {
  if (tokens.empty()) return 1;
  size_t repeats = 0;
  for (size_t i = 1; i < tokens.size(); ++i) {
    for (size_t unit = 1; unit <= 3 && 2 * unit <= i + 1; ++unit) {
      bool same = true;
      for (size_t k = 0; k < unit; ++k) same &= tokens[i - k].word == tokens[i - k - unit].word;
      if (!same) continue;
      ++repeats;
      break;
    }
  }
  return 1 - static_cast<double>(repeats) / static_cast<double>(tokens.size());
}

// Letters and digits that alternate more than once (8i1qdk1), or a sign inside a word (9r%b).
bool IsNoise(absl::string_view word) {
  int changes = 0;
  for (size_t i = 1; i < word.size(); ++i) {
    const bool letters = absl::ascii_isalpha(word[i - 1]) && absl::ascii_isalpha(word[i]);
    const bool digits = absl::ascii_isdigit(word[i - 1]) && absl::ascii_isdigit(word[i]);
    const bool both_known = absl::ascii_isalnum(word[i - 1]) && absl::ascii_isalnum(word[i]);
    if (both_known && !letters && !digits) ++changes;
    if (kSigns.find(word[i]) != absl::string_view::npos) return true;
  }
  return changes >= 2;
}

std::string WithoutLetter(const std::string& word, size_t i) {
  std::string shorter = word;
  shorter.erase(i, 1);
  return shorter;
}

}  // namespace

ClarityJudge::ClarityJudge(const Pool& pool) : pool_(pool) {
  for (uint32_t word = 0; word < pool.vocabulary(); ++word) {
    const std::string& text = pool.Text(word);
    if (pool.Count(word) < kUsualCount || text.size() < kShortestSlip) continue;
    usual_spellings_.insert(text);
    for (size_t i = 0; i < text.size(); ++i) usual_spellings_.insert(WithoutLetter(text, i));
  }
}

// One letter more, less or other than a usual word; also two, where one is missing on either side.
bool ClarityJudge::IsSlipOfUsualWord(const std::string& word) const {
  if (word.size() < kShortestSlip || word.size() > 32) return false;
  if (usual_spellings_.contains(word)) return true;
  for (size_t i = 0; i < word.size(); ++i) {
    if (usual_spellings_.contains(WithoutLetter(word, i))) return true;
  }
  return false;
}

ClarityJudge::Plausibility ClarityJudge::JudgeWord(const std::string& word) {
  if (IsNoise(word)) return {0, word.size()};
  Plausibility judged{0, 0};
  for (size_t i = 0; i < word.size();) {
    size_t end = i;
    while (end < word.size() && absl::ascii_islower(word[end])) ++end;
    // Two letters tell nothing; other scripts are not judged.
    if (end - i >= 3) {
      const double bits = LetterBits(absl::string_view(word).substr(i, end - i));
      const double value =
          std::clamp((kImplausibleBits - bits) / (kImplausibleBits - kPlausibleBits), 0.0, 1.0);
      judged.value += value * static_cast<double>(end - i);
      judged.letters += end - i;
    }
    i = std::max(end, i + 1);
  }
  if (judged.letters > 0) judged.value /= static_cast<double>(judged.letters);
  return judged;
}

ClarityJudge::Part ClarityJudge::Spelling(absl::Span<const Token> tokens) const {
  const OwnCounts<uint32_t> own = CountWords(tokens);
  const auto is_known = [&](uint32_t word) { return pool_.Count(word) - own[word] >= kKnownCount; };
  const auto is_slip = [&](uint32_t word) { return !is_known(word) && IsSlipOfUsualWord(pool_.Text(word)); };
  // One or two may be words of their own: love beside glove.
  const auto slips =
      std::count_if(tokens.begin(), tokens.end(), [&](const Token& token) { return is_slip(token.word); });
  double plausible = 0;
  size_t letters = 0;
  std::pair<double, std::string> worst = {1, ""};
  for (const Token& token : tokens) {
    const std::string& word = pool_.Text(token.word);
    Plausibility judged{1, word.size()};
    if (!is_known(token.word)) judged = JudgeWord(word);
    if (slips >= kManySlips && is_slip(token.word)) judged = {0, word.size()};
    plausible += judged.value * static_cast<double>(judged.letters);
    letters += judged.letters;
    if (judged.letters > 0 && judged.value < worst.first) worst = {judged.value, word};
  }
  if (letters == 0) return {};
  return {plausible / static_cast<double>(letters),
          absl::StrCat("misspelt or no words: \"", worst.second, "\"")};
}

ClarityJudge::Part ClarityJudge::Order(absl::Span<const Token> tokens) const {
  if (tokens.size() < kOrderWords) return {};
  const OwnCounts<uint32_t> own = CountWords(tokens);
  const auto neighbours = NeighboursOf(tokens);
  const OwnCounts<std::pair<uint32_t, uint32_t>> own_pairs(neighbours);
  const double others = static_cast<double>(pool_.TotalCount() - tokens.size() - 2);
  if (others <= 0) return {};
  double sum = 0;
  double worst = 0;
  std::string worst_pair;
  for (const auto& [a, b] : neighbours) {
    const double expected =
        static_cast<double>(pool_.Count(a) - own[a]) * static_cast<double>(pool_.Count(b) - own[b]) / others;
    const double observed = static_cast<double>(pool_.PairCount(a, b) - own_pairs[{a, b}]);
    const double ratio = std::log((observed + kPrior) / (expected + kPrior));
    sum += ratio;
    if (ratio >= worst) continue;
    worst = ratio;
    const std::string first =
        a == Pool::kBeginning ? "at the beginning" : absl::StrCat("after \"", pool_.Text(a), "\"");
    worst_pair =
        b == Pool::kEnd ? absl::StrCat("nothing ", first) : absl::StrCat("\"", pool_.Text(b), "\" ", first);
  }
  const double mean = sum / static_cast<double>(neighbours.size());
  return {std::exp(std::min(0.0, mean)),
          absl::StrCat("an order of words that other prompts do not have: ", worst_pair)};
}

ClarityJudge::Part ClarityJudge::Consistency(absl::Span<const Token> tokens) const {
  std::vector<Word> words;
  words.reserve(tokens.size());
  for (const Token& token : tokens) words.push_back({pool_.Text(token.word), token.after_break != 0});
  std::string found = FindContradiction(words);
  if (found.empty()) return {};
  return {0, absl::StrCat("contradicts itself: ", found)};
}

Clarity ClarityJudge::Judge(size_t prompt) const {
  const absl::Span<const Token> tokens = pool_.Tokens(prompt);
  const double words = static_cast<double>(tokens.size());
  Part consistency = Consistency(tokens);
  Part spelling = Spelling(tokens);
  Part order = Order(tokens);
  Part variety = {Variety(tokens), "repeats itself: words like those right before them"};
  Part length = {
      std::min(1.0, kMostWords / std::max(words, 1.0)),
      absl::StrFormat("too long: %d words, of which the text encoder drops the last", tokens.size())};
  Clarity clarity{spelling.value, order.value, variety.value, length.value, consistency.value, 1, ""};
  for (Part* part : {&consistency, &spelling, &order, &variety, &length}) {
    if (part->value >= clarity.score) continue;
    clarity.score = part->value;
    clarity.reason = std::move(part->reason);
  }
  return clarity;
}

}  // namespace rsidiff::coordinator
