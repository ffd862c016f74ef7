#include "worker/phase/gaussian.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace rsidiff::worker {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<Gaussian> Fit(const at::Tensor& rows) {
  absl::StatusOr<Moments> moments = ComputeMoments(rows);
  if (!moments.ok()) return moments.status();
  return FitGaussian(*moments, rows);
}

TEST(GaussianTest, DoesNotDependOnTheBlocks) {
  at::manual_seed(1);
  at::Tensor rows = at::randn({50, 6});
  auto whole = Fit(rows);
  std::vector<Moments> parts;
  for (auto [begin, count] : {std::pair{0, 1}, {1, 30}, {31, 19}}) {
    parts.push_back(*ComputeMoments(rows.narrow(0, begin, count)));
  }
  auto fitted = FitGaussian(*MergeMoments(parts), rows);
  ASSERT_TRUE(whole.ok() && fitted.ok());
  EXPECT_TRUE(at::allclose(whole->whitening, fitted->whitening, 1e-12, 1e-12));
  EXPECT_NEAR(whole->shrinkage, fitted->shrinkage, 1e-12);
  EXPECT_NEAR(whole->distance_stddev, fitted->distance_stddev, 1e-12);
  EXPECT_EQ(fitted->count, 50u);
}

TEST(GaussianTest, TheReferencesOwnDistancesAreStandardised) {
  at::manual_seed(2);
  at::Tensor rows = at::randn({400, 5});
  auto gaussian = Fit(rows);
  ASSERT_TRUE(gaussian.ok());
  at::Tensor distances = StandardizedDistances(*gaussian, rows);
  EXPECT_NEAR(distances.mean().item<double>(), 0.0, 1e-9);
  EXPECT_NEAR(distances.std(false).item<double>(), 1.0, 1e-9);
}

TEST(GaussianTest, TwoSamplesGiveAnInvertibleCovariance) {
  auto gaussian = Fit(at::tensor({1.0, 0.0, 0.0, 1.0}).view({2, 2}));
  ASSERT_TRUE(gaussian.ok()) << gaussian.status();
  EXPECT_EQ(gaussian->shrinkage, 0.01);
  EXPECT_EQ(gaussian->distance_stddev, 1.0);
  EXPECT_TRUE(at::isfinite(gaussian->whitening).all().item<bool>());
}

TEST(GaussianTest, AConstantFeatureIsNoObstacle) {
  at::manual_seed(3);
  at::Tensor rows = at::randn({30, 4});
  rows.select(1, 2).fill_(0.5);
  auto gaussian = Fit(rows);
  ASSERT_TRUE(gaussian.ok()) << gaussian.status();
  EXPECT_TRUE(at::isfinite(MahalanobisDistances(*gaussian, rows)).all().item<bool>());
}

TEST(GaussianTest, RefusesWhatHasNoGaussian) {
  at::Tensor row = at::ones({1, 3});
  EXPECT_THAT(std::string(Fit(row).status().message()), HasSubstr("at least two samples"));
  EXPECT_THAT(std::string(Fit(at::full({5, 3}, 0.1)).status().message()),
              HasSubstr("no variance: all 5 samples look the same; set weights.method to uniform"));
  EXPECT_THAT(
      std::string(FitGaussian(*ComputeMoments(at::randn({5, 3})), at::ones({2, 4})).status().message()),
      HasSubstr("row length 4"));
}

TEST(GaussianTest, SurvivesItsFile) {
  at::manual_seed(4);
  at::Tensor rows = at::randn({40, 3});
  auto gaussian = Fit(rows);
  ASSERT_TRUE(gaussian.ok());
  auto bytes = SerializeSafetensors(GaussianTensors(*gaussian), {});
  ASSERT_TRUE(bytes.ok());
  auto tensors = ParseSafetensors(*bytes, "reference");
  ASSERT_TRUE(tensors.ok());
  auto read = ParseGaussian(*tensors, "reference");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(at::equal(StandardizedDistances(*read, rows), StandardizedDistances(*gaussian, rows)));
}

TEST(GaussianTest, ParseRefusesTensorsThatDoNotFit) {
  at::Tensor vector = at::zeros({3}, at::kDouble);
  NamedTensors wrong = {{"mean", vector},
                        {"whitening", at::zeros({3, 2}, at::kDouble)},
                        {"distance", at::zeros({2}, at::kDouble)}};
  EXPECT_THAT(std::string(ParseGaussian(wrong, "artifact x").status().message()),
              HasSubstr("artifact x is no reference"));
  EXPECT_FALSE(ParseGaussian({{"mean", vector}}, "x").ok());
}

}  // namespace
}  // namespace rsidiff::worker
