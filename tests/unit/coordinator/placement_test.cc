#include "coordinator/schedule/placement.h"

#include <gtest/gtest.h>

namespace rsidiff::coordinator {
namespace {

Candidate Of(v1::TaskKind kind, v1::Purpose purpose, uint32_t round, uint32_t leased_in_branch = 0) {
  Candidate candidate;
  candidate.kind = kind;
  candidate.purpose = purpose;
  candidate.round = round;
  candidate.leased_in_branch = leased_in_branch;
  return candidate;
}

RunDemand Demand(uint64_t run_id, uint32_t leased, uint64_t granted) {
  RunDemand demand;
  demand.run_id = run_id;
  demand.leased = leased;
  demand.granted = granted;
  demand.candidates = {Of(v1::TASK_KIND_GENERATE, v1::PURPOSE_TRAINING, 1)};
  return demand;
}

TEST(PlaceTest, NothingToDo) {
  EXPECT_FALSE(Place({}).has_value());
  RunDemand idle;
  idle.run_id = 1;
  EXPECT_FALSE(Place({idle}).has_value());
}

TEST(PlaceTest, RunWithTheSmallestShareGoesFirst) {
  EXPECT_EQ(Place({Demand(1, 2, 0), Demand(2, 1, 9)})->run_id, 2);
  EXPECT_EQ(Place({Demand(1, 1, 9), Demand(2, 1, 8)})->run_id, 2);
  EXPECT_EQ(Place({Demand(1, 1, 8), Demand(2, 1, 8)})->run_id, 1) << "the older one";
  RunDemand heavy = Demand(1, 3, 0);
  heavy.weight = 4;
  EXPECT_EQ(Place({heavy, Demand(2, 1, 0)})->run_id, 1);
}

TEST(PlaceTest, TrainingGoesFirstThenWhatTheRoundWaitsFor) {
  RunDemand run = Demand(1, 0, 0);
  run.candidates.push_back(Of(v1::TASK_KIND_WEIGHT, v1::PURPOSE_TRAINING, 2));
  EXPECT_EQ(Place({run})->task.kind, v1::TASK_KIND_WEIGHT);
  run.candidates.push_back(Of(v1::TASK_KIND_TRAIN, v1::PURPOSE_TRAINING, 2));
  auto placement = Place({run});
  EXPECT_EQ(placement->task.kind, v1::TASK_KIND_TRAIN);
  EXPECT_NE(placement->reason.find("the round waits for it"), std::string::npos);
}

TEST(PlaceTest, EvaluationAndSamplingTakeTurns) {
  RunDemand run;
  run.run_id = 1;
  run.candidates = {Of(v1::TASK_KIND_GENERATE, v1::PURPOSE_EVALUATION, 1, 1),
                    Of(v1::TASK_KIND_GENERATE, v1::PURPOSE_TRAINING, 2, 0)};
  EXPECT_EQ(Place({run})->task.round, 2);
  run.candidates[1].leased_in_branch = 1;
  EXPECT_EQ(Place({run})->task.round, 1);
}

TEST(PlaceTest, OwnPicturesAreScoredFirst) {
  RunDemand run;
  run.run_id = 1;
  run.candidates = {Of(v1::TASK_KIND_GENERATE, v1::PURPOSE_EVALUATION, 1),
                    Of(v1::TASK_KIND_SCORE, v1::PURPOSE_TRAINING, 2, 5)};
  run.candidates[1].pictures_here = true;
  EXPECT_EQ(Place({run})->task.kind, v1::TASK_KIND_SCORE);
}

TEST(MayTakeTest, ScoreWaitsForItsMakerForAWhile) {
  TaskView view;
  view.now = absl::UnixEpoch();
  view.worker = "other";
  view.preferred_worker = "maker";
  view.preferred_until = view.now + kScoreAffinity;
  EXPECT_FALSE(MayTake(view));
  view.worker = "maker";
  EXPECT_TRUE(MayTake(view));
  view.worker = "other";
  view.now = view.preferred_until;
  EXPECT_TRUE(MayTake(view));
}

TEST(MayTakeTest, FailedTaskPrefersAnotherWorker) {
  TaskView view;
  view.now = absl::UnixEpoch();
  view.worker = "w";
  view.last_worker = "w";
  view.failed_at = view.now;
  EXPECT_FALSE(MayTake(view));
  view.alone = true;
  EXPECT_TRUE(MayTake(view));
  view.alone = false;
  view.now += kAvoidLastWorker;
  EXPECT_TRUE(MayTake(view));
}

}  // namespace
}  // namespace rsidiff::coordinator
