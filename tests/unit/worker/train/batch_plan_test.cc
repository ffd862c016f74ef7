#include "worker/train/batch_plan.h"

#include <algorithm>
#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "worker/train/learning_rate.h"

namespace rsidiff::worker {
namespace {

using ::testing::HasSubstr;

BatchPlan MakePlan(const BatchPlanOptions& options, int own, int replay) {
  std::vector<bool> is_replay(own + replay, false);
  std::fill(is_replay.begin() + own, is_replay.end(), true);
  return *BatchPlan::Create(options, is_replay);
}

TEST(BatchPlanTest, DrawsDoNotDependOnTheOrderOfQuestions) {
  BatchPlanOptions options;
  options.seed = 3;
  options.global_batch = 7;
  options.replay = 0.3;
  options.caption_dropout = 0.5;
  BatchPlan forward = MakePlan(options, 10, 4);
  BatchPlan backward = MakePlan(options, 10, 4);
  std::map<std::pair<uint64_t, uint32_t>, Draw> draws;
  for (uint64_t step = 0; step < 9; ++step) {
    for (uint32_t position = 0; position < 7; ++position)
      draws[{step, position}] = forward.At(step, position);
  }
  for (uint64_t step = 9; step-- > 0;) {
    for (uint32_t position = 7; position-- > 0;) {
      const Draw draw = backward.At(step, position);
      const Draw& expected = draws.at({step, position});
      EXPECT_EQ(draw.example, expected.example);
      EXPECT_EQ(draw.noise_seed, expected.noise_seed);
      EXPECT_EQ(draw.timestep, expected.timestep);
      EXPECT_EQ(draw.drop_caption, expected.drop_caption);
    }
  }
}

TEST(BatchPlanTest, EveryEpochTakesEveryExampleOnceInAFreshOrder) {
  BatchPlanOptions options;
  options.global_batch = 5;
  BatchPlan plan = MakePlan(options, 20, 0);
  std::vector<std::vector<uint32_t>> epochs(3);
  for (uint64_t step = 0; step < 12; ++step) {
    for (uint32_t position = 0; position < 5; ++position)
      epochs[step / 4].push_back(plan.At(step, position).example);
  }
  for (const auto& epoch : epochs) EXPECT_EQ(std::set<uint32_t>(epoch.begin(), epoch.end()).size(), 20u);
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
}

TEST(BatchPlanTest, ReplayTakesItsShareOfEveryStep) {
  BatchPlanOptions options;
  options.global_batch = 8;
  options.replay = 0.25;
  BatchPlan plan = MakePlan(options, 30, 5);
  for (uint64_t step = 0; step < 50; ++step) {
    int replayed = 0;
    for (uint32_t position = 0; position < 8; ++position) replayed += plan.At(step, position).example >= 30;
    EXPECT_EQ(replayed, 2) << step;
  }
  BatchPlan without = MakePlan(options, 30, 0);  // nothing to replay in the first round
  for (uint32_t position = 0; position < 8; ++position) EXPECT_LT(without.At(0, position).example, 30u);
}

TEST(BatchPlanTest, TimestepsAndDroppedCaptionsAreSpreadEvenly) {
  BatchPlanOptions options;
  options.global_batch = 100;
  options.caption_dropout = 0.1;
  BatchPlan plan = MakePlan(options, 10, 0);
  int dropped = 0;
  std::vector<int> tenths(10, 0);
  std::set<uint64_t> seeds;
  for (uint64_t step = 0; step < 100; ++step) {
    for (uint32_t position = 0; position < 100; ++position) {
      const Draw draw = plan.At(step, position);
      dropped += draw.drop_caption;
      ASSERT_LT(draw.timestep, 1000u);
      ++tenths[draw.timestep / 100];
      seeds.insert(draw.noise_seed);
    }
  }
  EXPECT_NEAR(dropped, 1000, 120);  // 4 standard deviations
  for (const int count : tenths) EXPECT_NEAR(count, 1000, 120);
  EXPECT_EQ(seeds.size(), 10000u);
}

TEST(BatchPlanTest, RefusesWhatCannotBeTrainedOn) {
  BatchPlanOptions options;
  EXPECT_THAT(std::string(BatchPlan::Create(options, {}).status().message()), HasSubstr("empty"));
  EXPECT_THAT(std::string(BatchPlan::Create(options, {true}).status().message()),
              HasSubstr("replay examples only"));
  options.caption_dropout = 1.5;
  EXPECT_THAT(std::string(BatchPlan::Create(options, {false}).status().message()),
              HasSubstr("caption_dropout"));
  options = {};
  options.global_batch = 0;
  EXPECT_FALSE(BatchPlan::Create(options, {false}).ok());
}

TEST(SliceOfRankTest, SlicesTileTheBatch) {
  for (const uint32_t batch : {1u, 5u, 64u, 97u}) {
    for (const uint32_t world : {1u, 2u, 3u, 7u, 100u}) {
      uint32_t next = 0;
      for (uint32_t rank = 0; rank < world; ++rank) {
        const auto [begin, end] = SliceOfRank(batch, rank, world);
        EXPECT_EQ(begin, next);
        EXPECT_LE(end - begin, batch / world + 1);
        next = end;
      }
      EXPECT_EQ(next, batch);
    }
  }
}

TEST(LearningRateTest, WarmsUpThenFollowsItsShape) {
  LearningRateOptions options;
  options.peak = 2.0;
  options.warmup_steps = 4;
  options.total_steps = 12;
  EXPECT_EQ(LearningRateAt(options, 0), 0.0);
  EXPECT_EQ(LearningRateAt(options, 2), 1.0);
  EXPECT_EQ(LearningRateAt(options, 4), 2.0);
  EXPECT_EQ(LearningRateAt(options, 11), 2.0);
  options.shape = LearningRateShape::kCosine;
  EXPECT_EQ(LearningRateAt(options, 4), 2.0);
  EXPECT_NEAR(LearningRateAt(options, 8), 1.0, 1e-12);
  EXPECT_NEAR(LearningRateAt(options, 12), 0.0, 1e-12);
}

TEST(EmaDecayTest, StartsByCopyingAndRisesToItsLimit) {
  EXPECT_EQ(EmaDecayAt(0.9, 1), 0.0);
  EXPECT_DOUBLE_EQ(EmaDecayAt(0.9, 2), 2.0 / 11.0);
  EXPECT_EQ(EmaDecayAt(0.9, 1000), 0.9);
}

}  // namespace
}  // namespace rsidiff::worker
