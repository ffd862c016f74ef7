#include "coordinator/prompt/clarity.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/prompt/contradiction.h"
#include "coordinator/prompt/letters.h"
#include "coordinator/prompt/words.h"

namespace rsidiff::coordinator {
namespace {

// A word that other prompts use so often needs no judgement of its letters.
constexpr uint64_t kKnownCount = 3;
// Of a word that other prompts use so often, a word that nobody else uses may be a slip.
constexpr uint64_t kUsualCount = 20;
constexpr size_t kShortestSlip = 4;
constexpr ptrdiff_t kManySlips = 3;
// So many strange words are not all names and abbreviations; one with digits counts as two.
constexpr size_t kManyStrange = 3;
// The least spelling of a prompt whose strange words may be names: less than that of one without any.
constexpr double kLeastOfNames = 0.8;
// Added to observed and expected counts: the weight of having seen little.
constexpr double kPrior = 0.5;
// The shortest prompt that has an order.
constexpr size_t kOrderWords = 3;

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

// One strange word is a name, and two beside usual words are; nothing is among noise.
bool MayBeNames(absl::Span<const Token> tokens, const std::vector<Letters>& letters, const Pool& pool) {
  absl::flat_hash_set<uint32_t> strange;
  size_t strangeness = 0;
  size_t ordinary = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (letters[i].noise) return false;
    if (letters[i].strange()) {
      if (!strange.insert(tokens[i].word).second) continue;
      strangeness += HasDigit(pool.Text(tokens[i].word)) ? 2 : 1;
    } else if (letters[i].judged > 0) {
      ++ordinary;
    }
  }
  return strangeness < kManyStrange && strange.size() <= ordinary + 1;
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

std::vector<Letters> ClarityJudge::JudgeWords(absl::Span<const Token> tokens) const {
  const OwnCounts<uint32_t> own = CountWords(tokens);
  const auto is_known = [&](uint32_t word) { return pool_.Count(word) - own[word] >= kKnownCount; };
  const auto is_slip = [&](const Token& token) {
    return !is_known(token.word) && IsSlipOfUsualWord(pool_.Text(token.word));
  };
  std::vector<Letters> letters;
  letters.reserve(tokens.size());
  for (const Token& token : tokens) {
    const std::string& word = pool_.Text(token.word);
    letters.push_back(is_known(token.word) || token.capital ? Letters{1, word.size(), false}
                                                            : JudgeLetters(word));
  }
  // One or two may be words of their own: love beside glove.
  if (std::count_if(tokens.begin(), tokens.end(), is_slip) >= kManySlips) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (is_slip(tokens[i])) letters[i] = {0, pool_.Text(tokens[i].word).size(), true};
    }
  }
  return letters;
}

ClarityJudge::Part ClarityJudge::Spelling(absl::Span<const Token> tokens) const {
  const std::vector<Letters> letters = JudgeWords(tokens);
  double plausible = 0;
  size_t judged = 0;
  std::pair<double, std::string> worst = {1, ""};
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Letters& word = letters[i];
    plausible += word.plausible * static_cast<double>(word.judged);
    judged += word.judged;
    if (word.judged > 0 && word.plausible < worst.first) worst = {word.plausible, pool_.Text(tokens[i].word)};
  }
  if (judged == 0) return {};
  const double least = MayBeNames(tokens, letters, pool_) ? kLeastOfNames : 0;
  return {std::max(least, plausible / static_cast<double>(judged)),
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
  for (const Token& token : tokens)
    words.push_back({pool_.Text(token.word), token.after_break != 0, token.capital != 0});
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
