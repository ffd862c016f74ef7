#include "common/base/seed.h"

#include <gtest/gtest.h>

#include <set>

namespace rsidiff {
namespace {

// Expected values from Python: hashlib.sha256 and struct.pack("<Q", ...), by the formulas in seed.h.
TEST(Seed, AgreesWithPython) {
  EXPECT_EQ(Hash64("sample", {1, 2, 3}), 4376439122132779109u);
  EXPECT_EQ(SampleSeed(1, 2, 3, 0), 70459452676423781u);
  EXPECT_EQ(SampleSeed(1, 2, 3, 3), 1725403491859377528u);
  EXPECT_EQ(SampleSeed(uint64_t{1} << 63, 6, 99999, 15), 1028115180417262960u);
  EXPECT_EQ(EvaluationSeed(7, 5, 1), 3664726336228225146u);
}

TEST(Seed, FitsSixtyThreeBits) {
  for (uint32_t prompt = 0; prompt < 200; ++prompt) EXPECT_EQ(SampleSeed(1, 1, prompt, 0) >> 63, 0u);
}

TEST(Seed, LowHalvesOfOnePromptDiffer) {
  std::set<uint32_t> low;
  for (uint32_t sample = 0; sample < 4096; ++sample)
    low.insert(static_cast<uint32_t>(SampleSeed(9, 1, 2, sample)));
  EXPECT_EQ(low.size(), 4096u);
}

TEST(Seed, EveryInputMatters) {
  std::set<uint64_t> seeds = {SampleSeed(1, 1, 1, 1), SampleSeed(2, 1, 1, 1), SampleSeed(1, 2, 1, 1),
                              SampleSeed(1, 1, 2, 1), SampleSeed(1, 1, 1, 2), EvaluationSeed(1, 1, 1)};
  EXPECT_EQ(seeds.size(), 6u);
}

}  // namespace
}  // namespace rsidiff
