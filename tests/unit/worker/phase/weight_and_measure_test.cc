#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "common/artifact/directory_store.h"
#include "worker/phase/feature_file.h"
#include "worker/phase/feature_statistics.h"
#include "worker/phase/gaussian.h"
#include "worker/phase/measure.h"
#include "worker/phase/neighbours.h"
#include "worker/phase/reference.h"
#include "worker/phase/unwatched_control.h"
#include "worker/phase/weight.h"
#include "worker/tensor/safetensors.h"

namespace rsidiff::worker {
namespace {

using ::testing::HasSubstr;

class FeaturePhaseTest : public ::testing::Test {
 protected:
  FeaturePhaseTest() : store_(DirectoryStore::Open(::testing::TempDir() + "/feature_phase_test").value()) {
    at::manual_seed(11);
    first_ = at::randn({20, 6});
    second_ = at::randn({15, 6}) + 0.5;
  }
  std::string Put(const at::Tensor& features) {
    return store_->Put(SerializeSafetensors({{"features", features}}, {}).value()).value();
  }

  std::unique_ptr<DirectoryStore> store_;
  UnwatchedControl control_;
  at::Tensor first_;
  at::Tensor second_;
};

TEST_F(FeaturePhaseTest, WeighsRowsAgainstTheFittedReference) {
  v1::FitReferenceWork fit;
  fit.add_features(Put(first_));
  fit.add_features(Put(second_));
  auto reference = FitReference(fit, v1::WeightSpec(), *store_, control_);
  ASSERT_TRUE(reference.ok()) << reference.status();
  EXPECT_EQ(reference->count(), 35u);
  EXPECT_EQ(FitReference(fit, v1::WeightSpec(), *store_, control_)->reference(),
            reference->reference());  // the same bytes again

  v1::WeightWork work;
  work.set_reference(reference->reference());
  for (auto [file, row] : std::vector<std::pair<int, uint32_t>>{{1, 3}, {0, 19}, {1, 0}}) {
    work.add_indices(row);
    work.add_rows()->set_features(fit.features(file));
    work.mutable_rows(work.rows_size() - 1)->set_row(row);
  }
  auto weights = Weigh(work, v1::WeightSpec(), *store_, control_);
  ASSERT_TRUE(weights.ok()) << weights.status();
  const at::Tensor all = at::cat({first_, second_});
  auto gaussian = FitGaussian(*ComputeMoments(all), all);
  at::Tensor expected = StandardizedDistances(*gaussian, at::stack({second_[3], first_[19], second_[0]}));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(weights->distances(i), expected[i].item<double>());
}

TEST_F(FeaturePhaseTest, FitsTheReferenceOfMoments) {
  v1::MomentsWork one;
  one.add_features(Put(first_));
  v1::MomentsWork two;
  two.add_features(Put(second_));
  v1::FitReferenceWork fit;
  fit.add_features(Put(first_));
  fit.add_features(Put(second_));
  const std::string whole = FitReference(fit, v1::WeightSpec(), *store_, control_)->reference();
  for (const v1::MomentsWork& work : {one, two}) {
    auto moments = GatherMoments(work, *store_, control_);
    ASSERT_TRUE(moments.ok()) << moments.status();
    fit.add_moments(moments->moments());
  }
  auto fitted = FitReference(fit, v1::WeightSpec(), *store_, control_);
  ASSERT_TRUE(fitted.ok()) << fitted.status();
  EXPECT_EQ(fitted->count(), 35u);
  const at::Tensor ours = ReadTensor(*store_, fitted->reference(), "whitening", 2).value();
  EXPECT_TRUE(at::allclose(ours, ReadTensor(*store_, whole, "whitening", 2).value(), 1e-10, 1e-12));

  // Those of all samples count, also where the distances are only of some.
  fit.mutable_features()->RemoveLast();
  auto some = FitReference(fit, v1::WeightSpec(), *store_, control_);
  EXPECT_EQ(some->count(), 35u);
  EXPECT_TRUE(at::equal(ours, ReadTensor(*store_, some->reference(), "whitening", 2).value()));

  fit.add_moments(Put(first_));
  EXPECT_THAT(std::string(FitReference(fit, v1::WeightSpec(), *store_, control_).status().message()),
              HasSubstr(fit.moments(2) + " is no moments"));
}

TEST_F(FeaturePhaseTest, WeighNamesTheSampleWithoutARow) {
  v1::FitReferenceWork fit;
  fit.add_features(Put(first_));
  v1::WeightWork work;
  work.set_reference(FitReference(fit, v1::WeightSpec(), *store_, control_)->reference());
  work.add_indices(123);
  work.add_rows()->set_features(fit.features(0));
  work.mutable_rows(0)->set_row(20);
  auto weights = Weigh(work, v1::WeightSpec(), *store_, control_);
  EXPECT_THAT(std::string(weights.status().message()), HasSubstr("no row 20 of length 6 for sample 123"));
  work.set_reference(fit.features(0));
  EXPECT_THAT(std::string(Weigh(work, v1::WeightSpec(), *store_, control_).status().message()),
              HasSubstr("is no reference"));
}

TEST_F(FeaturePhaseTest, WeighsByNeighboursIfAskedTo) {
  v1::WeightSpec knn;
  knn.set_method(v1::WEIGHT_METHOD_KNN);
  knn.set_neighbours(3);
  v1::FitReferenceWork fit;
  fit.add_features(Put(first_));
  auto reference = FitReference(fit, knn, *store_, control_);
  ASSERT_TRUE(reference.ok()) << reference.status();
  v1::WeightWork work;
  work.set_reference(reference->reference());
  work.add_indices(4);
  work.add_rows()->set_features(Put(second_));
  work.mutable_rows(0)->set_row(4);
  auto weights = Weigh(work, knn, *store_, control_);
  ASSERT_TRUE(weights.ok()) << weights.status();
  auto fitted = FitNeighbours(first_, 3);
  EXPECT_EQ(weights->distances(0), StandardizedDistances(*fitted, second_.slice(0, 4, 5), 3).item<double>());
}

TEST_F(FeaturePhaseTest, APictureThatLooksAlikeAnotherIsLeftOutOnce) {
  // On a line, so that distances are those of the numbers. 0 stands there three times, all but equal.
  const at::Tensor reference = at::tensor({0.0f, 0.0004f, -0.0004f, 1.0f, 3.0f}).unsqueeze(1);
  const at::Tensor rows = at::tensor({0.0f, 0.5f, 0.9985f, 3.0005f}).unsqueeze(1);
  const at::Tensor nearest = NeighbourDistances(reference, rows, 1);
  EXPECT_NEAR(nearest[0].item<double>(), 0.0004, 1e-6) << "itself is left out, its likes are neighbours";
  EXPECT_NEAR(nearest[1].item<double>(), 0.4996, 1e-6);
  EXPECT_NEAR(nearest[2].item<double>(), 0.0015, 1e-6) << "not nearer than 1e-3: another one";
  EXPECT_NEAR(nearest[3].item<double>(), 2.0005, 1e-6) << "nearer than 1e-3: the same one";
}

TEST_F(FeaturePhaseTest, ManySamplesAreStandardisedByTheDistancesOfTheFirst) {
  constexpr int64_t kFirst = 16'384;
  // Pairs at a distance of 1, far from each other; behind the first 16,384 at a distance of 9.
  at::Tensor features = at::arange(kFirst + 2, at::kFloat).unsqueeze(1);
  features = features.floor_divide(2) * 100 + features.remainder(2);
  features[kFirst + 1] += 8;
  const NeighbourReference reference = *FitNeighbours(features, 1);
  EXPECT_EQ(reference.features.size(0), kFirst + 2);
  EXPECT_EQ(reference.distance_mean, 1);
  EXPECT_EQ(StandardizedDistances(reference, features.slice(0, kFirst, kFirst + 1), 1).item<double>(), 8);
}

TEST_F(FeaturePhaseTest, SamplesThatLookTheSameHaveNoDistance) {
  const at::Tensor same = at::full({6, 3}, 0.5f);
  const NeighbourReference reference = *FitNeighbours(same, 2);
  EXPECT_EQ(StandardizedDistances(reference, same, 2).abs().max().item<double>(), 0);
}

TEST_F(FeaturePhaseTest, KnnNeedsMoreSamplesThanNeighbours) {
  v1::WeightSpec knn;
  knn.set_method(v1::WEIGHT_METHOD_KNN);
  knn.set_neighbours(20);
  v1::FitReferenceWork fit;
  fit.add_features(Put(first_));
  EXPECT_THAT(std::string(FitReference(fit, knn, *store_, control_).status().message()),
              HasSubstr("weights.neighbours is 20, and the base model's samples are only 20"));
}

TEST_F(FeaturePhaseTest, MeasuresAnEvaluation) {
  v1::MeasureWork work;
  work.add_features(Put(first_));
  work.add_features(Put(second_));
  work.add_reference_features(Put(second_));
  auto measured = Measure(work, *store_, control_);
  ASSERT_TRUE(measured.ok()) << measured.status();
  at::Tensor all = at::cat({first_, second_});
  EXPECT_DOUBLE_EQ(measured->diversity(), MeanPairwiseCosineDistance(all));
  EXPECT_DOUBLE_EQ(measured->frechet(), *FrechetDistance(all, second_));
  *work.mutable_reference_features() = work.features();
  EXPECT_EQ(Measure(work, *store_, control_)->frechet(), 0.0);
}

/// Sees the progress, and cancels at a share of the task.
class WatchingControl : public UnwatchedControl {
 public:
  explicit WatchingControl(double cancel_at) : cancel_at_(cancel_at) {}
  bool cancelled() const override { return progress_ >= cancel_at_; }
  void ReportProgress(double fraction) override {
    EXPECT_GE(fraction, progress_);
    EXPECT_LE(fraction, 1);
    progress_ = fraction;
  }
  double progress() const { return progress_; }

 private:
  const double cancel_at_;
  double progress_ = -1;
};

TEST_F(FeaturePhaseTest, EveryPhaseReportsProgressAndStopsWhenCancelled) {
  const std::string one = Put(first_);
  const std::string two = Put(second_);
  v1::MomentsWork moments;
  v1::FitReferenceWork fit;
  v1::MeasureWork measure;
  for (const std::string& digest : {one, two}) {
    moments.add_features(digest);
    fit.add_features(digest);
    measure.add_features(digest);
  }
  measure.add_reference_features(two);
  v1::WeightSpec knn;
  knn.set_method(v1::WEIGHT_METHOD_KNN);
  knn.set_neighbours(3);
  v1::WeightWork weight;
  weight.set_reference(FitReference(fit, v1::WeightSpec(), *store_, control_)->reference());
  for (const std::string& digest : {one, two}) {
    weight.add_indices(0);
    weight.add_rows()->set_features(digest);
  }
  const std::vector<std::function<absl::Status(TaskControl&)>> phases = {
      [&](TaskControl& control) { return GatherMoments(moments, *store_, control).status(); },
      [&](TaskControl& control) { return FitReference(fit, v1::WeightSpec(), *store_, control).status(); },
      [&](TaskControl& control) { return FitReference(fit, knn, *store_, control).status(); },
      [&](TaskControl& control) { return Weigh(weight, v1::WeightSpec(), *store_, control).status(); },
      [&](TaskControl& control) { return Measure(measure, *store_, control).status(); }};
  for (size_t i = 0; i < phases.size(); ++i) {
    WatchingControl whole(2);
    const absl::Status status = phases[i](whole);
    EXPECT_TRUE(status.ok()) << i << ": " << status;
    EXPECT_GE(whole.progress(), 0.5) << i;
    for (const double at : {-1.0, 0.0, 0.3}) {
      WatchingControl cancelled(at);
      EXPECT_TRUE(absl::IsCancelled(phases[i](cancelled))) << i << " at " << at;
    }
  }
}

TEST_F(FeaturePhaseTest, MeasureRefusesFeaturesOfAnotherLengthAndNoFeatures) {
  v1::MeasureWork work;
  EXPECT_THAT(std::string(Measure(work, *store_, control_).status().message()),
              HasSubstr("no features files"));
  work.add_features(Put(first_));
  work.add_features(Put(at::ones({2, 5})));
  EXPECT_THAT(std::string(Measure(work, *store_, control_).status().message()), HasSubstr("row length 5"));
}

}  // namespace
}  // namespace rsidiff::worker
