#include "coordinator/prompt/near_duplicate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <random>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace rsidiff::coordinator {
namespace {

double Jaccard(const std::vector<uint64_t>& a, const std::vector<uint64_t>& b) {
  const std::set<uint64_t> first(a.begin(), a.end());
  const std::set<uint64_t> second(b.begin(), b.end());
  std::vector<uint64_t> shared;
  std::set_intersection(first.begin(), first.end(), second.begin(), second.end(), std::back_inserter(shared));
  return static_cast<double>(shared.size()) /
         static_cast<double>(first.size() + second.size() - shared.size());
}

// Long prompts of made-up words; half of them are earlier ones with one or two words changed.
std::vector<std::string> MadeUpPrompts(size_t count, size_t length) {
  std::mt19937 random(5);
  std::vector<std::vector<std::string>> prompts;
  std::vector<std::string> texts;
  for (size_t i = 0; i < count; ++i) {
    std::vector<std::string> words;
    if (i % 2 == 1) {
      words = prompts[random() % prompts.size()];
      for (size_t k = 0; k < 1 + i / 2 % 2; ++k)
        words[random() % words.size()] = absl::StrCat("changed", random() % 99);
    } else {
      for (size_t k = 0; k < length; ++k) words.push_back(absl::StrCat("word", random() % 500));
    }
    texts.push_back(absl::StrJoin(words, " "));
    prompts.push_back(std::move(words));
  }
  return texts;
}

class NearDuplicate : public testing::TestWithParam<double> {};

TEST_P(NearDuplicate, FindsWhatAllPairsFind) {
  const double most = GetParam();
  // One word of 60 makes a similarity over 0.9, which one of 24 does not.
  const std::vector<std::string> texts = most < 0.9 ? MadeUpPrompts(1200, 24) : MadeUpPrompts(600, 60);
  const Pool pool(texts);
  std::vector<Content> contents;
  for (size_t i = 0; i < texts.size(); ++i) contents.push_back(ContentOf(pool, i));
  std::vector<uint32_t> order(texts.size());
  std::iota(order.begin(), order.end(), 0);

  const std::vector<Nearest> nearest = FindNearDuplicates(contents, order, most);

  size_t missed = 0;
  size_t found = 0;
  std::vector<uint32_t> kept;
  for (const uint32_t i : order) {
    const bool rejected = nearest[i].similarity > most;
    if (nearest[i].prompt != Nearest::kNone) {
      EXPECT_DOUBLE_EQ(nearest[i].similarity, Jaccard(contents[i].pairs, contents[nearest[i].prompt].pairs));
    }
    const bool has_duplicate = std::any_of(kept.begin(), kept.end(), [&](uint32_t other) {
      return Jaccard(contents[i].pairs, contents[other].pairs) > most;
    });
    found += has_duplicate && rejected;
    missed += has_duplicate && !rejected;
    EXPECT_FALSE(rejected && !has_duplicate) << texts[i];
    if (!rejected) kept.push_back(i);
  }
  EXPECT_GT(found, 100u);
  EXPECT_LE(missed, found / 500);
}

INSTANTIATE_TEST_SUITE_P(Thresholds, NearDuplicate, testing::Values(0.5, 0.7, 0.8, 0.9));

TEST(NearDuplicateBands, MissAtMostOneInAThousandAtTheThreshold) {
  for (double similarity = 0.3; similarity < 1; similarity += 0.05) {
    const Bands bands = Bands::For(similarity);
    if (bands.rows == 1) continue;  // no more can be done
    EXPECT_LE(std::pow(1 - std::pow(similarity, bands.rows), Bands::kBands), 0.001 + 1e-12) << similarity;
  }
}

double SimilarityOf(const std::string& a, const std::string& b) {
  const Pool pool({a, b});
  return Similarity(ContentOf(pool, 0), ContentOf(pool, 1));
}

TEST(NearDuplicateContent, TakesSynonymsAndFillersForTheSame) {
  EXPECT_EQ(SimilarityOf("a small grey cat", "A  little gray cat, please."), 1);
  EXPECT_EQ(SimilarityOf("an image of two dogs", "2 dogs"), 1);
  EXPECT_EQ(SimilarityOf("a cat under a table", "a nice cat beneath the table"), 1);
}

TEST(NearDuplicateContent, TellsAttributesApart) {
  const std::string rest =
      " in front of a very old house with many windows, trees, birds and a long garden fence at night";
  EXPECT_EQ(SimilarityOf("a red car" + rest, "a blue car" + rest), 0);
  EXPECT_EQ(SimilarityOf("two cars" + rest, "three cars" + rest), 0);
  EXPECT_GT(SimilarityOf("a red car" + rest, "a red van" + rest), 0.7);
  EXPECT_LT(SimilarityOf("a house", "a painting of a house"), 0.5);
}

std::vector<Nearest> FindIn(const std::vector<std::string>& texts, double max_similarity) {
  const Pool pool(texts);
  std::vector<Content> contents;
  for (size_t i = 0; i < texts.size(); ++i) contents.push_back(ContentOf(pool, i));
  std::vector<uint32_t> order(texts.size());
  std::iota(order.begin(), order.end(), 0);
  return FindNearDuplicates(contents, order, max_similarity);
}

constexpr const char* kAlphabet = "b c d e f g h i j k l m n o p q r s t u v w x y z";

TEST(NearDuplicate, FindsAnOldDuplicateBehindBucketsOfThousands) {
  // Alike but for the last word: a quarter of them share a bucket, but not in every band.
  std::vector<std::string> texts;
  for (int i = 0; i < 3000; ++i) texts.push_back(absl::StrCat(kAlphabet, " end", i));
  for (int i = 0; i < 100; ++i) texts.push_back(texts[i]);
  const std::vector<Nearest> nearest = FindIn(texts, 0.95);
  for (size_t i = 0; i < 3000; ++i) EXPECT_LE(nearest[i].similarity, 0.95);
  for (size_t i = 3000; i < texts.size(); ++i) {
    EXPECT_EQ(nearest[i].prompt, i - 3000);
    EXPECT_EQ(nearest[i].similarity, 1);
  }
}

TEST(NearDuplicate, ComparesWithTheNewestOfABucketOnly) {
  // Each has all that the first one says, and two pairs more, so most share its bucket in every band: behind
  // few the first one is found again, behind more than a bucket offers it is not. That bounds the work.
  for (const auto& [between, found] : {std::pair<int, bool>{20, true}, {3000, false}}) {
    std::vector<std::string> texts = {kAlphabet};
    for (int i = 0; i < between; ++i) texts.push_back(absl::StrCat(kAlphabet, " more", i, " z"));
    texts.push_back(kAlphabet);
    EXPECT_EQ(FindIn(texts, 0.95).back().similarity == 1, found) << between;
  }
}

}  // namespace
}  // namespace rsidiff::coordinator
