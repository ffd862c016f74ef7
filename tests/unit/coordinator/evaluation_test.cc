#include "coordinator/schedule/evaluation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rsidiff::coordinator {
namespace {

using ::testing::HasSubstr;

v1::RunSpec Spec(bool held_out) {
  v1::RunSpec spec;
  spec.add_scorers()->set_name("s");
  if (held_out) {
    spec.add_scorers()->set_name("h");
    spec.mutable_scorers(1)->set_role(v1::SCORER_ROLE_HELD_OUT);
  }
  return spec;
}

v1::EvaluationSummary Scores(double s, double h) {
  v1::EvaluationSummary summary;
  (*summary.mutable_scores())["s"].set_mean(s);
  (*summary.mutable_scores())["s"].set_stddev(2);
  (*summary.mutable_scores())["h"].set_mean(h);
  return summary;
}

TEST(JudgeRoundsTest, HeldOutScorerDecides) {
  RoundJudgement judgement = JudgeRounds(Spec(true), {Scores(0, 0.2), Scores(9, 0.1), Scores(5, 0.3)});
  EXPECT_EQ(judgement.best_round, 2);
  EXPECT_DOUBLE_EQ(judgement.best_score, 0.3);
  EXPECT_FALSE(judgement.stop);
  EXPECT_EQ(judgement.reason, "round 2 is the best: it scores 0.3, the base model 0.2");
}

TEST(JudgeRoundsTest, WithoutOneTheSelectionScorersDecideAgainstTheBase) {
  v1::RunSpec spec = Spec(false);
  EXPECT_DOUBLE_EQ(RoundScore(spec, Scores(5, 0), Scores(1, 0)), 2);
  EXPECT_EQ(JudgeRounds(spec, {Scores(1, 0), Scores(5, 0), Scores(3, 0)}).best_round, 1);
}

TEST(JudgeRoundsTest, SeveralHeldOutScorersAreMeasuredByTheBasesDeviations) {
  v1::RunSpec spec = Spec(true);
  spec.add_scorers()->set_name("wide");
  spec.mutable_scorers(2)->set_role(v1::SCORER_ROLE_HELD_OUT);
  spec.mutable_scorers(2)->set_weight(3);
  const auto scores = [](double h, double wide) {
    v1::EvaluationSummary summary = Scores(0, h);
    (*summary.mutable_scores())["h"].set_stddev(0.1);
    (*summary.mutable_scores())["wide"].set_mean(wide);
    (*summary.mutable_scores())["wide"].set_stddev(4);
    return summary;
  };
  EXPECT_NEAR(RoundScore(spec, scores(0.4, 22), scores(0.2, 20)), (2 + 3 * 0.5) / 4, 1e-12);
  EXPECT_EQ(JudgeRounds(spec, {scores(0.2, 20), scores(0.1, 21), scores(0.3, 20)}).best_round, 2)
      << "a scorer with large numbers does not drown the other";
}

TEST(JudgeRoundsTest, NoRoundBeatsTheBase) {
  RoundJudgement judgement = JudgeRounds(Spec(true), {Scores(0, 0.2), Scores(0, 0.2), Scores(0, 0.1)});
  EXPECT_EQ(judgement.best_round, 0) << "an equal score is no improvement";
  EXPECT_THAT(judgement.reason, HasSubstr("no round beat the base model"));
}

TEST(JudgeRoundsTest, PatienceCountsRoundsSinceTheBest) {
  v1::RunSpec spec = Spec(true);
  spec.mutable_stop()->set_patience(2);
  EXPECT_FALSE(JudgeRounds(spec, {Scores(0, 1), Scores(0, 2), Scores(0, 1)}).stop);
  RoundJudgement judgement = JudgeRounds(spec, {Scores(0, 1), Scores(0, 2), Scores(0, 1), Scores(0, 1)});
  EXPECT_TRUE(judgement.stop);
  EXPECT_THAT(judgement.reason, HasSubstr("stopped after 2 rounds without a better one"));
}

TEST(JudgeRoundsTest, PatienceOfAForkCountsItsOwnRounds) {
  v1::RunSpec spec = Spec(true);
  spec.mutable_stop()->set_patience(1);
  const std::vector<v1::EvaluationSummary> shared = {Scores(0, 1), Scores(0, 2), Scores(0, 1)};
  EXPECT_TRUE(JudgeRounds(spec, shared).stop);
  EXPECT_FALSE(JudgeRounds(spec, shared, 2).stop);
  std::vector<v1::EvaluationSummary> all = shared;
  all.push_back(Scores(0, 1));
  const RoundJudgement judgement = JudgeRounds(spec, all, 2);
  EXPECT_TRUE(judgement.stop);
  EXPECT_THAT(judgement.reason, HasSubstr("; stopped after 1 round without a better one"));
}

TEST(StartingRoundTest, EachAttemptHasItsRounds) {
  v1::RunSpec spec = Spec(true);
  EXPECT_EQ(StartingRound(spec, 9, 2, 0), 8) << "never by default";
  spec.mutable_stop()->set_roll_back_after(2);
  EXPECT_EQ(StartingRound(spec, 4, 2, 0), 3);
  EXPECT_EQ(StartingRound(spec, 5, 2, 0), 2);
  EXPECT_EQ(StartingRound(spec, 6, 2, 5), 5) << "one round behind the roll-back of round 5";
  EXPECT_EQ(StartingRound(spec, 7, 2, 5), 2);
  EXPECT_EQ(StartingRound(spec, 7, 6, 5), 6) << "the best is newer than the roll-back";
  EXPECT_EQ(StartingRound(spec, 2, 0, 0), 1);
  EXPECT_EQ(StartingRound(spec, 3, 0, 0), 0);
}

}  // namespace
}  // namespace rsidiff::coordinator
