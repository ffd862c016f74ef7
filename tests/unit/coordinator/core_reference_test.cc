// The reference distribution, gathered block by block in round 1.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/unit/coordinator/core_harness.h"
#include "tests/unit/coordinator/fake_results.h"

namespace rsidiff::coordinator {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

// 9,000 samples in 9 chunks, of which a MOMENTS task takes 4.
v1::SubmitRunRequest ThreeBlocks(v1::WeightMethod method) {
  v1::SubmitRunRequest request = SmallRun("submit", 1);
  request.mutable_spec()->mutable_prompts()->set_per_round(0);
  request.mutable_spec()->mutable_sampling()->set_samples_per_prompt(2250);
  request.mutable_spec()->mutable_sampling()->set_chunk(1000);
  request.mutable_spec()->mutable_weights()->set_method(method);
  return request;
}

v1::RoundRecord RoundOne(CoreHarness& harness, uint64_t run_id) {
  return harness.GetRun(run_id).rounds(1);
}

// Works until round 1 has its reference; the payloads of MOMENTS and FIT_REFERENCE.
std::map<v1::TaskKind, std::vector<v1::TaskPayload>> WorkToReference(CoreHarness& harness, uint64_t run_id) {
  std::map<v1::TaskKind, std::vector<v1::TaskPayload>> seen;
  const uint64_t incarnation = harness.Register("w");
  while (RoundOne(harness, run_id).phase() <= v1::ROUND_PHASE_REFERENCE) {
    const std::vector<v1::Grant> grants = harness.Lease("w", incarnation);
    if (grants.empty()) {
      ADD_FAILURE() << "nothing to lease";
      break;
    }
    seen[grants[0].task().kind()].push_back(grants[0].payload());
    harness.Ok<v1::CompleteResponse>(harness.Completion("w", incarnation, grants[0]));
    if (RoundOne(harness, run_id).phase() == v1::ROUND_PHASE_REFERENCE) {
      EXPECT_TRUE(harness.CheckDisk().ok()) << harness.CheckDisk();
    }
  }
  return seen;
}

TEST(CoreReferenceTest, BlocksAreGatheredSideBySideAndFittedTogether) {
  CoreHarness harness;
  const uint64_t run_id = harness.Ok<v1::SubmitRunResponse>(ThreeBlocks(v1::WEIGHT_METHOD_GAUSSIAN)).run_id();
  auto seen = WorkToReference(harness, run_id);
  const auto& blocks = seen[v1::TASK_KIND_MOMENTS];
  ASSERT_THAT(blocks, SizeIs(3));
  EXPECT_EQ(blocks[0].moments().features_size(), 4);
  EXPECT_EQ(blocks[1].moments().features_size(), 4);
  EXPECT_EQ(blocks[2].moments().features_size(), 1);
  ASSERT_THAT(seen[v1::TASK_KIND_FIT_REFERENCE], SizeIs(1));
  const v1::FitReferenceWork& fit = seen[v1::TASK_KIND_FIT_REFERENCE][0].fit_reference();
  ASSERT_EQ(fit.moments_size(), 3);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(fit.moments(i), FakeResult(blocks[static_cast<size_t>(i)]).moments().moments());
  }
  EXPECT_EQ(fit.features_size(), 9) << "few enough for the own distances of all";
  EXPECT_THAT(RoundOne(harness, run_id).reference_moments(), IsEmpty()) << "needed once";
  EXPECT_TRUE(harness.MemoryEqualsDisk());
}

TEST(CoreReferenceTest, OwnDistancesAreOfTheFirstSamplesWhereThereAreMany) {
  CoreHarness harness;
  v1::SubmitRunRequest request = ThreeBlocks(v1::WEIGHT_METHOD_GAUSSIAN);
  request.mutable_spec()->mutable_sampling()->set_samples_per_prompt(5000);
  const uint64_t run_id = harness.Ok<v1::SubmitRunResponse>(request).run_id();
  auto seen = WorkToReference(harness, run_id);
  EXPECT_THAT(seen[v1::TASK_KIND_MOMENTS], SizeIs(5));
  ASSERT_THAT(seen[v1::TASK_KIND_FIT_REFERENCE], SizeIs(1));
  EXPECT_EQ(seen[v1::TASK_KIND_FIT_REFERENCE][0].fit_reference().features_size(), 16);
}

TEST(CoreReferenceTest, NeighboursNeedTheSamplesThemselves) {
  CoreHarness harness;
  const uint64_t run_id = harness.Ok<v1::SubmitRunResponse>(ThreeBlocks(v1::WEIGHT_METHOD_KNN)).run_id();
  auto seen = WorkToReference(harness, run_id);
  EXPECT_THAT(seen[v1::TASK_KIND_MOMENTS], IsEmpty());
  ASSERT_THAT(seen[v1::TASK_KIND_FIT_REFERENCE], SizeIs(1));
  EXPECT_EQ(seen[v1::TASK_KIND_FIT_REFERENCE][0].fit_reference().features_size(), 9);
}

TEST(CoreReferenceTest, TooFewSamplesForTheNeighboursAreNotDrawn) {
  for (uint32_t neighbours : {5, 6}) {
    CoreHarness harness;
    const uint64_t incarnation = harness.Register("w");
    v1::SubmitRunRequest request = SmallRun("submit", 1);  // six samples
    request.mutable_spec()->mutable_weights()->set_method(v1::WEIGHT_METHOD_KNN);
    request.mutable_spec()->mutable_weights()->set_neighbours(neighbours);
    const uint64_t run_id = harness.Ok<v1::SubmitRunResponse>(request).run_id();
    const std::vector<v1::TaskKey> done = harness.Work("w", incarnation);
    const v1::RunRecord run = harness.GetRun(run_id).run();
    EXPECT_EQ(run.state(), neighbours == 5 ? v1::RUN_STATE_SUCCEEDED : v1::RUN_STATE_FAILED);
    EXPECT_TRUE(harness.MemoryEqualsDisk());
    EXPECT_TRUE(harness.CheckDisk().ok()) << harness.CheckDisk();
    if (neighbours == 5) continue;
    EXPECT_THAT(done, IsEmpty());
    EXPECT_EQ(
        run.reason(),
        "weights.neighbours is 6, and round 1 has only 6 samples: more samples are needed than neighbours");
  }
}

TEST(CoreReferenceTest, ARestartAtAnyBlockChangesNothing) {
  auto checkpoint = [](int restart_after) {
    CoreHarness harness;
    const uint64_t run_id =
        harness.Ok<v1::SubmitRunResponse>(ThreeBlocks(v1::WEIGHT_METHOD_GAUSSIAN)).run_id();
    const uint64_t incarnation = harness.Register("w");
    for (int blocks = 0; blocks < restart_after;) {
      const std::vector<v1::Grant> grants = harness.Lease("w", incarnation);
      blocks += grants.at(0).task().kind() == v1::TASK_KIND_MOMENTS;
      harness.Ok<v1::CompleteResponse>(harness.Completion("w", incarnation, grants[0]));
    }
    harness.Restart();
    EXPECT_TRUE(harness.MemoryEqualsDisk());
    harness.Work("w", incarnation);
    EXPECT_TRUE(harness.CheckDisk().ok()) << harness.CheckDisk();
    return RoundOne(harness, run_id).checkpoint();
  };
  const std::string undisturbed = checkpoint(0);
  ASSERT_FALSE(undisturbed.empty());
  for (int blocks = 1; blocks <= 3; ++blocks) EXPECT_EQ(checkpoint(blocks), undisturbed);
}

}  // namespace
}  // namespace rsidiff::coordinator
