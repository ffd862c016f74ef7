#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "coordinator/prompt/pool.h"

namespace rsidiff::coordinator {

/// What a prompt says, for comparing it with others: hashes of its pairs of neighbouring words (sorted, each
/// once), without articles, words that fit every picture and a leading "an image of"; colours, sizes, numbers
/// and directions that mean the same have one name.
struct Content {
  std::vector<uint64_t> pairs;
  uint64_t attributes = 0;  // hash of colours, sizes, numbers and directions, in order
};

Content ContentOf(const Pool& pool, size_t prompt);

/// The same for contents of similarity 1, and different (but for 64-bit collisions) for others.
uint64_t KeyOf(const Content& content);

/// Jaccard similarity of the pairs, |A and B| / |A or B|; 0 where the attributes differ, since then the
/// pictures do ("a red car ..." and "a blue car ...").
double Similarity(const Content& a, const Content& b);

/// Share of the prompts that are compared, at least, of those that are as similar as the threshold.
inline constexpr double kWantedRecall = 0.999;

/// MinHash with banding (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, ch. 3):
/// prompts share a bucket of one of `kBands` bands with probability 1 - (1 - s^rows)^bands at similarity s.
struct Bands {
  static constexpr uint32_t kBands = 32;
  uint32_t rows = 1;

  /// The most rows, so the fewest comparisons, that keep kWantedRecall at `similarity` (0 to 1, excluded).
  static Bands For(double similarity);
};

struct Nearest {
  static constexpr uint32_t kNone = UINT32_MAX;
  uint32_t prompt = kNone;  // the most similar one of those kept before
  double similarity = 0;
};

/// Goes through `order` (indices into `contents`) and keeps a prompt unless one kept before is more similar
/// than `max_similarity`; answers for each index of `contents` what was nearest among those it was compared
/// with. Memory: 400 bytes a prompt. A bucket offers a prompt at most 64 kept ones, the newest first, so the
/// time is bounded too. A pure function of its arguments.
std::vector<Nearest> FindNearDuplicates(const std::vector<Content>& contents,
                                        absl::Span<const uint32_t> order, double max_similarity);

}  // namespace rsidiff::coordinator
