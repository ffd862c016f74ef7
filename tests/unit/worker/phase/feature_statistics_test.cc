#include "worker/phase/feature_statistics.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

namespace rsidiff::worker {
namespace {

TEST(DiversityTest, KnownSets) {
  at::Tensor same = at::ones({4, 3});
  EXPECT_NEAR(MeanPairwiseCosineDistance(same), 0.0, 1e-12);
  EXPECT_NEAR(MeanPairwiseCosineDistance(at::eye(3)), 1.0, 1e-12);
  EXPECT_EQ(MeanPairwiseCosineDistance(at::ones({1, 3})), 0.0);
  // Lengths do not count.
  at::Tensor rows = at::eye(2);
  rows[1] *= 100.0;
  EXPECT_NEAR(MeanPairwiseCosineDistance(rows), 1.0, 1e-12);
}

TEST(FrechetDistanceTest, KnownSets) {
  at::manual_seed(5);
  at::Tensor rows = at::randn({50, 4}, at::kDouble);
  EXPECT_NEAR(*FrechetDistance(rows, rows), 0.0, 1e-6);
  // A shift changes the mean alone.
  EXPECT_NEAR(*FrechetDistance(rows, rows + 2.0), 4 * 4.0, 1e-6);
  // Doubling doubles the deviation: tr(C) of difference of deviations, (2 - 1)^2.
  at::Tensor centred = rows - rows.mean(0);
  EXPECT_NEAR(*FrechetDistance(centred, centred * 2.0), centred.var(0, true).sum().item<double>(), 1e-6);
  EXPECT_NEAR(*FrechetDistance(at::zeros({1, 2}), at::ones({1, 2})), 2.0, 1e-12);
}

TEST(FrechetDistanceTest, RefusesWhatItCannotCompare) {
  EXPECT_FALSE(FrechetDistance(at::ones({2, 3}), at::ones({2, 4})).ok());
  EXPECT_FALSE(FrechetDistance(at::ones({0, 3}), at::ones({2, 3})).ok());
  at::Tensor bad = at::full({2, 3}, std::numeric_limits<double>::infinity());
  EXPECT_FALSE(FrechetDistance(bad, at::ones({2, 3})).ok());
}

}  // namespace
}  // namespace rsidiff::worker
