#include "coordinator/schedule/round_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "common/base/seed.h"
#include "coordinator/schedule/retry.h"
#include "coordinator/schedule/task_graph.h"

namespace rsidiff::coordinator {
namespace {

v1::RunSpec Spec(uint32_t per_round, uint32_t samples_per_prompt) {
  v1::RunSpec spec;
  spec.set_seed(11);
  spec.mutable_prompts()->set_per_round(per_round);
  spec.mutable_sampling()->set_samples_per_prompt(samples_per_prompt);
  return spec;
}

TEST(RoundPlanTest, PromptOrderIsAPermutationOfThePool) {
  std::vector<uint32_t> pool;
  for (uint32_t i = 0; i < 100; ++i) pool.push_back(1000 + 3 * i);
  std::vector<uint32_t> order = PromptOrder(3, pool);
  EXPECT_EQ(order, PromptOrder(3, pool));
  EXPECT_NE(order, PromptOrder(4, pool));
  std::sort(order.begin(), order.end());
  EXPECT_EQ(order, pool);
}

TEST(RoundPlanTest, WindowsGoThroughThePoolBeforeTheyRepeat) {
  v1::RunSpec spec = Spec(3, 1);
  std::multiset<uint32_t> seen;
  for (uint32_t round = 1; round <= 10; ++round) {
    std::vector<uint32_t> prompts =
        RoundPrompts(spec, PromptOrder(11, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}), round);
    ASSERT_EQ(prompts.size(), 3);
    seen.insert(prompts.begin(), prompts.end());
    if (round == 3) {
      EXPECT_EQ(std::set<uint32_t>(seen.begin(), seen.end()).size(), 9);
    }
  }
  for (uint32_t prompt = 0; prompt < 10; ++prompt) EXPECT_EQ(seen.count(prompt), 3);
}

TEST(RoundPlanTest, ZeroOrTooManyPromptsMeanTheWholePool) {
  const std::vector<uint32_t> order = PromptOrder(11, {0, 1, 2, 3, 4, 5, 6});
  EXPECT_EQ(RoundPrompts(Spec(0, 1), order, 2), order);
  EXPECT_EQ(RoundPrompts(Spec(99, 1), order, 2), order);
  EXPECT_TRUE(RoundPrompts(Spec(3, 1), {}, 1).empty());
}

TEST(RoundPlanTest, SamplesAreNumberedByPromptPositionAndSample) {
  v1::RunSpec spec = Spec(2, 3);
  const std::vector<uint32_t> order = PromptOrder(11, {0, 1, 2, 3, 4});
  const std::vector<uint32_t> prompts = RoundPrompts(spec, order, 2);
  const SamplePlan samples = TrainingSamples(spec, order, 2);
  ASSERT_EQ(samples.size(), 6);
  for (uint32_t i = 0; i < 6; ++i) {
    EXPECT_EQ(samples[i].index, i);
    EXPECT_EQ(samples[i].prompt_id, prompts[i / 3]);
    EXPECT_EQ(samples[i].sample_index, i % 3);
    EXPECT_EQ(samples[i].seed, SampleSeed(11, 2, prompts[i / 3], i % 3));
  }
}

TEST(RoundPlanTest, EvaluationTakesTheFirstPromptsWithItsOwnSeed) {
  v1::RunSpec spec = Spec(2, 3);
  spec.mutable_prompts()->set_evaluation_limit(4);
  spec.mutable_evaluation()->set_samples_per_prompt(2);
  spec.mutable_evaluation()->set_seed(99);
  const SamplePlan samples = EvaluationSamples(spec, 9);
  ASSERT_EQ(samples.size(), 8);
  EXPECT_EQ(samples[7].prompt_id, 3);
  EXPECT_EQ(samples[7].seed, EvaluationSeed(99, 3, 1));
  spec.mutable_evaluation()->clear_seed();
  EXPECT_EQ(EvaluationSamples(spec, 9)[7].seed, EvaluationSeed(11, 3, 1));
}

TEST(RoundPlanTest, ChunksCoverTheSamplesOnce) {
  EXPECT_EQ(ChunkCount(0, 4), 0);
  EXPECT_EQ(ChunkCount(8, 4), 2);
  EXPECT_EQ(ChunkCount(9, 4), 3);
  EXPECT_EQ(ChunkAt(9, 4, 2).begin, 8);
  EXPECT_EQ(ChunkAt(9, 4, 2).end, 9);
}

TEST(TaskGraphTest, GaussianFitsTheReferenceInRoundOneOnly) {
  v1::RunSpec spec;
  spec.mutable_weights()->set_method(v1::WEIGHT_METHOD_GAUSSIAN);
  EXPECT_EQ(NextPhase(spec, 1, v1::ROUND_PHASE_SAMPLE), v1::ROUND_PHASE_REFERENCE);
  EXPECT_EQ(NextPhase(spec, 1, v1::ROUND_PHASE_REFERENCE), v1::ROUND_PHASE_SELECT);
  EXPECT_EQ(NextPhase(spec, 1, v1::ROUND_PHASE_SELECT), v1::ROUND_PHASE_WEIGHT);
  EXPECT_EQ(NextPhase(spec, 2, v1::ROUND_PHASE_SAMPLE), v1::ROUND_PHASE_SELECT);
  spec.mutable_weights()->set_method(v1::WEIGHT_METHOD_UNIFORM);
  EXPECT_EQ(NextPhase(spec, 1, v1::ROUND_PHASE_SAMPLE), v1::ROUND_PHASE_SELECT);
  EXPECT_EQ(NextPhase(spec, 1, v1::ROUND_PHASE_WEIGHT), v1::ROUND_PHASE_TRAIN);
  EXPECT_EQ(NextPhase(spec, 1, v1::ROUND_PHASE_EVALUATE), v1::ROUND_PHASE_DONE);
  EXPECT_EQ(NextPhase(spec, 1, v1::ROUND_PHASE_FAILED), v1::ROUND_PHASE_FAILED);
}

TEST(TaskGraphTest, PhasesAreInTheOrderOfARoundsLife) {
  v1::RunSpec spec;
  for (v1::RoundPhase phase = v1::ROUND_PHASE_SAMPLE; phase != v1::ROUND_PHASE_DONE;) {
    const v1::RoundPhase next = NextPhase(spec, 1, phase);
    EXPECT_EQ(PhaseOrder(next), PhaseOrder(phase) + 1);
    phase = next;
  }
  EXPECT_LT(PhaseOrder(v1::ROUND_PHASE_DONE), PhaseOrder(v1::ROUND_PHASE_ABANDONED));
  EXPECT_LT(PhaseOrder(v1::ROUND_PHASE_UNSPECIFIED), PhaseOrder(v1::ROUND_PHASE_SAMPLE));
}

TEST(TaskGraphTest, HeldOutScorersJudgeEvaluationsOnly) {
  v1::RunSpec spec;
  for (const char* name : {"aesthetic", "clip", "held"}) spec.add_scorers()->set_name(name);
  spec.mutable_scorers(0)->set_type(v1::SCORER_TYPE_AESTHETIC);
  spec.mutable_scorers(1)->set_type(v1::SCORER_TYPE_CLIPSCORE);
  spec.mutable_scorers(2)->set_type(v1::SCORER_TYPE_CLIPSCORE);
  spec.mutable_scorers(2)->set_role(v1::SCORER_ROLE_HELD_OUT);
  EXPECT_THAT(ScorersFor(spec, v1::PURPOSE_TRAINING), ::testing::ElementsAre("aesthetic", "clip"));
  EXPECT_THAT(ScorersFor(spec, v1::PURPOSE_EVALUATION), ::testing::ElementsAre("aesthetic", "clip", "held"));
  EXPECT_EQ(FeatureScorer(spec, v1::PURPOSE_TRAINING), "clip");
  EXPECT_EQ(FeatureScorer(spec, v1::PURPOSE_EVALUATION), "held");
  spec.mutable_evaluation()->set_features("clip");
  EXPECT_EQ(FeatureScorer(spec, v1::PURPOSE_EVALUATION), "clip");
}

TEST(TaskGraphTest, FeaturesComeFromClipModelsOnly) {
  // A type of a newer version: what is not known to have an image embedding gives no features.
  const auto unknown = static_cast<v1::ScorerType>(v1::ScorerType_MAX + 1);
  for (const v1::ScorerType other : {v1::SCORER_TYPE_AESTHETIC, unknown}) {
    v1::RunSpec spec;
    for (const char* name : {"other", "held_other", "pick"}) spec.add_scorers()->set_name(name);
    spec.mutable_scorers(0)->set_type(other);
    spec.mutable_scorers(1)->set_type(other);
    spec.mutable_scorers(1)->set_role(v1::SCORER_ROLE_HELD_OUT);
    spec.mutable_scorers(2)->set_type(v1::SCORER_TYPE_PICKSCORE);
    EXPECT_EQ(FeatureScorer(spec, v1::PURPOSE_TRAINING), "pick");
    EXPECT_EQ(FeatureScorer(spec, v1::PURPOSE_EVALUATION), "pick");
    spec.mutable_scorers()->RemoveLast();
    EXPECT_EQ(FeatureScorer(spec, v1::PURPOSE_TRAINING), "");
  }
}

TEST(RetryTest, BackoffIsBelowItsDoublingLimitAndSpread) {
  for (uint32_t attempt = 1; attempt < 12; ++attempt) {
    absl::Duration limit = std::min(absl::Seconds(60), absl::Seconds(1) * (1 << (attempt - 1)));
    std::set<absl::Duration> values;
    for (uint64_t salt = 0; salt < 50; ++salt) {
      absl::Duration wait = Backoff(attempt, salt);
      EXPECT_GE(wait, absl::ZeroDuration());
      EXPECT_LT(wait, limit);
      values.insert(wait);
    }
    EXPECT_GT(values.size(), 30);
  }
}

TEST(RetryTest, BudgetsAreCountedApart) {
  RetryBudgets budgets{2, 3};
  EXPECT_EQ(JudgeRetry(LeaseEnd::kLost, 1, 2, budgets), RetryVerdict::kRetry);
  EXPECT_EQ(JudgeRetry(LeaseEnd::kLost, 2, 0, budgets), RetryVerdict::kFail);
  EXPECT_EQ(JudgeRetry(LeaseEnd::kError, 1, 3, budgets), RetryVerdict::kFail);
  EXPECT_EQ(JudgeRetry(LeaseEnd::kReturned, 9, 9, budgets), RetryVerdict::kRetry);
  EXPECT_EQ(JudgeRetry(LeaseEnd::kForgotten, 9, 9, budgets), RetryVerdict::kRetry);
}

}  // namespace
}  // namespace rsidiff::coordinator
