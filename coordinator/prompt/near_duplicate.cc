#include "coordinator/prompt/near_duplicate.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/string_view.h"

namespace rsidiff::coordinator {
namespace {

constexpr size_t kMostCompared = 64;  // kept prompts of a bucket
constexpr uint32_t kMaxRows = 8;

// FNV-1a and splitmix64's finalizer (Steele, Lea and Flood 2014): the same on every machine and in every
// process, which absl::Hash is not.
uint64_t Mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xBF58476D1CE4E5B9u;
  x ^= x >> 27;
  x *= 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

uint64_t HashText(absl::string_view text) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return Mix(hash);
}

uint64_t Combine(uint64_t a, uint64_t b) {
  return Mix(a * 0x9E3779B97F4A7C15u + b);
}

constexpr uint64_t kEdge = 0x52AE;  // stands before the first word and behind the last

bool IsAttribute(WordClass word_class) {
  return word_class == WordClass::kColour || word_class == WordClass::kSize ||
         word_class == WordClass::kNumber || word_class == WordClass::kRelation;
}

// Where the prompt goes on behind "an image of".
size_t EndOfLead(const Pool& pool, absl::Span<const Token> tokens) {
  size_t i = 0;
  const auto class_at = [&](size_t k) { return pool.Entry(tokens[k].word).word_class; };
  while (i < tokens.size() && class_at(i) == WordClass::kArticle) ++i;
  if (i + 2 >= tokens.size() || class_at(i) != WordClass::kGeneric) return 0;
  return pool.Text(tokens[i + 1].word) == "of" ? i + 2 : 0;
}

// The smallest hash of `pairs` under the permutation-like function number `function`.
uint64_t MinHash(const std::vector<uint64_t>& pairs, uint64_t function) {
  const uint64_t add = Mix(2 * function + 1);
  uint64_t least = UINT64_MAX;
  for (const uint64_t pair : pairs) least = std::min(least, Mix(pair + add));
  return least;
}

// Kept prompts by band and bucket: chains through arrays, newest first.
class Buckets {
 public:
  explicit Buckets(size_t prompts) {
    size_t size = 1;
    while (size < prompts) size *= 2;
    mask_ = size - 1;
    for (Band& band : bands_) {
      band.first.assign(size, kNone);
      band.next.assign(prompts, kNone);
    }
  }

  uint32_t First(uint32_t band, uint64_t key) const { return bands_[band].first[key & mask_]; }
  uint32_t Next(uint32_t band, uint32_t prompt) const { return bands_[band].next[prompt]; }

  // At the front: the newest kept are offered first.
  void Add(uint32_t band, uint64_t key, uint32_t prompt) {
    uint32_t& first = bands_[band].first[key & mask_];
    bands_[band].next[prompt] = first;
    first = prompt;
  }

  static constexpr uint32_t kNone = UINT32_MAX;

 private:
  struct Band {
    std::vector<uint32_t> first;  // by bucket
    std::vector<uint32_t> next;   // by prompt
  };
  size_t mask_ = 0;
  std::array<Band, Bands::kBands> bands_;
};

std::array<uint64_t, Bands::kBands> BandKeys(const Content& content, Bands bands) {
  std::array<uint64_t, Bands::kBands> keys;
  for (uint32_t band = 0; band < Bands::kBands; ++band) {
    keys[band] = band;
    for (uint32_t row = 0; row < bands.rows; ++row) {
      keys[band] = Combine(keys[band], MinHash(content.pairs, uint64_t{band} * kMaxRows + row));
    }
  }
  return keys;
}

}  // namespace

Content ContentOf(const Pool& pool, size_t prompt) {
  const absl::Span<const Token> tokens = pool.Tokens(prompt);
  Content content;
  uint64_t before = kEdge;
  bool said_something = false;
  for (size_t i = EndOfLead(pool, tokens); i < tokens.size(); ++i) {
    const LexiconEntry& entry = pool.Entry(tokens[i].word);
    const absl::string_view text = pool.Text(tokens[i].word);
    if (entry.word_class == WordClass::kArticle || entry.word_class == WordClass::kGeneric ||
        text == "please")
      continue;
    const uint64_t word = HashText(entry.name.empty() ? text : entry.name);
    if (IsAttribute(entry.word_class)) content.attributes = Combine(content.attributes, word);
    content.pairs.push_back(Combine(before, word));
    before = word;
    said_something = true;
  }
  if (!said_something) {
    // Nothing but words that fit every picture: compared by these.
    for (const Token& token : tokens) {
      const uint64_t word = HashText(pool.Text(token.word));
      content.pairs.push_back(Combine(before, word));
      before = word;
    }
  }
  content.pairs.push_back(Combine(before, kEdge));
  std::sort(content.pairs.begin(), content.pairs.end());
  content.pairs.erase(std::unique(content.pairs.begin(), content.pairs.end()), content.pairs.end());
  content.pairs.shrink_to_fit();
  return content;
}

uint64_t KeyOf(const Content& content) {
  uint64_t key = content.attributes;
  for (const uint64_t pair : content.pairs) key = Combine(key, pair);
  return key;
}

double Similarity(const Content& a, const Content& b) {
  if (a.attributes != b.attributes) return 0;
  size_t shared = 0;
  for (size_t i = 0, k = 0; i < a.pairs.size() && k < b.pairs.size();) {
    if (a.pairs[i] == b.pairs[k]) {
      ++shared;
      ++i;
      ++k;
    } else if (a.pairs[i] < b.pairs[k]) {
      ++i;
    } else {
      ++k;
    }
  }
  const size_t either = a.pairs.size() + b.pairs.size() - shared;
  return either == 0 ? 1 : static_cast<double>(shared) / static_cast<double>(either);
}

Bands Bands::For(double similarity) {
  Bands bands;
  for (uint32_t rows = 2; rows <= kMaxRows; ++rows) {
    const double missed = std::pow(1 - std::pow(similarity, rows), kBands);
    if (missed <= 1 - kWantedRecall) bands.rows = rows;
  }
  return bands;
}

std::vector<Nearest> FindNearDuplicates(const std::vector<Content>& contents,
                                        absl::Span<const uint32_t> order, double max_similarity) {
  std::vector<Nearest> nearest(contents.size());
  if (max_similarity >= 1) return nearest;
  const Bands bands = Bands::For(max_similarity);
  Buckets buckets(contents.size());
  std::vector<uint32_t> compared_for(contents.size(), Buckets::kNone);
  for (const uint32_t prompt : order) {
    const auto keys = BandKeys(contents[prompt], bands);
    Nearest& best = nearest[prompt];
    for (uint32_t band = 0; band < Bands::kBands; ++band) {
      size_t compared = 0;
      for (uint32_t other = buckets.First(band, keys[band]);
           other != Buckets::kNone && compared < kMostCompared;
           other = buckets.Next(band, other), ++compared) {
        if (compared_for[other] == prompt) continue;
        compared_for[other] = prompt;
        const double similarity = Similarity(contents[prompt], contents[other]);
        if (similarity > best.similarity) best = {other, similarity};
      }
    }
    if (best.similarity > max_similarity) continue;
    for (uint32_t band = 0; band < Bands::kBands; ++band) buckets.Add(band, keys[band], prompt);
  }
  return nearest;
}

}  // namespace rsidiff::coordinator
