#include "worker/phase/gaussian.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace rsidiff::worker {
namespace {

using ::testing::HasSubstr;

FeatureBlocks Blocks(std::vector<at::Tensor> tensors) {
  return {tensors.size(), [tensors](size_t i) -> absl::StatusOr<at::Tensor> { return tensors[i]; }};
}

TEST(GaussianTest, DoesNotDependOnTheBlocks) {
  at::manual_seed(1);
  at::Tensor rows = at::randn({50, 6});
  auto whole = FitGaussian(Blocks({rows}));
  auto parts = FitGaussian(Blocks({rows.narrow(0, 0, 1), rows.narrow(0, 1, 30), rows.narrow(0, 31, 19)}));
  ASSERT_TRUE(whole.ok() && parts.ok());
  EXPECT_TRUE(at::allclose(whole->whitening, parts->whitening, 1e-12, 1e-12));
  EXPECT_NEAR(whole->distance_stddev, parts->distance_stddev, 1e-12);
  EXPECT_EQ(parts->count, 50u);
}

TEST(GaussianTest, TheReferencesOwnDistancesAreStandardised) {
  at::manual_seed(2);
  at::Tensor rows = at::randn({400, 5});
  auto gaussian = FitGaussian(Blocks({rows}));
  ASSERT_TRUE(gaussian.ok());
  at::Tensor distances = StandardizedDistances(*gaussian, rows);
  EXPECT_NEAR(distances.mean().item<double>(), 0.0, 1e-9);
  EXPECT_NEAR(distances.std(false).item<double>(), 1.0, 1e-9);
}

TEST(GaussianTest, TwoSamplesGiveAnInvertibleCovariance) {
  auto gaussian = FitGaussian(Blocks({at::tensor({1.0, 0.0, 0.0, 1.0}).view({2, 2})}));
  ASSERT_TRUE(gaussian.ok()) << gaussian.status();
  EXPECT_EQ(gaussian->shrinkage, 0.01);
  EXPECT_EQ(gaussian->distance_stddev, 1.0);
  EXPECT_TRUE(at::isfinite(gaussian->whitening).all().item<bool>());
}

TEST(GaussianTest, AConstantFeatureIsNoObstacle) {
  at::manual_seed(3);
  at::Tensor rows = at::randn({30, 4});
  rows.select(1, 2).fill_(0.5);
  auto gaussian = FitGaussian(Blocks({rows}));
  ASSERT_TRUE(gaussian.ok()) << gaussian.status();
  EXPECT_TRUE(at::isfinite(MahalanobisDistances(*gaussian, rows)).all().item<bool>());
}

TEST(GaussianTest, RefusesWhatHasNoGaussian) {
  at::Tensor row = at::ones({1, 3});
  EXPECT_THAT(std::string(FitGaussian(Blocks({row})).status().message()), HasSubstr("at least two samples"));
  EXPECT_THAT(std::string(FitGaussian(Blocks({at::ones({5, 3})})).status().message()),
              HasSubstr("no variance"));
  EXPECT_THAT(std::string(FitGaussian(Blocks({row, at::ones({1, 4})})).status().message()),
              HasSubstr("row length 4"));
  at::Tensor bad = at::ones({2, 3});
  bad[1][2] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(std::string(FitGaussian(Blocks({row, bad})).status().message()),
              HasSubstr("block 1 are not finite"));
}

TEST(GaussianTest, SurvivesItsFile) {
  at::manual_seed(4);
  at::Tensor rows = at::randn({40, 3});
  auto gaussian = FitGaussian(Blocks({rows}));
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
