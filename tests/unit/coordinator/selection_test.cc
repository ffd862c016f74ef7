#include "coordinator/schedule/selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace rsidiff::coordinator {
namespace {

using ::testing::ElementsAre;

v1::RunSpec Spec(v1::SelectionMethod method, uint32_t keep) {
  v1::RunSpec spec;
  for (const char* name : {"a", "b"}) {
    v1::ScorerSpec* scorer = spec.add_scorers();
    scorer->set_name(name);
    scorer->set_role(v1::SCORER_ROLE_SELECTION);
    scorer->set_weight(*name == 'a' ? 2 : 1);
  }
  v1::ScorerSpec* held_out = spec.add_scorers();
  held_out->set_name("h");
  held_out->set_role(v1::SCORER_ROLE_HELD_OUT);
  spec.mutable_selection()->set_method(method);
  spec.mutable_selection()->set_keep(keep);
  return spec;
}

v1::SampleRecord Sample(uint32_t index, uint32_t prompt, double a, double b) {
  v1::SampleRecord sample;
  sample.set_index(index);
  sample.set_prompt_id(prompt);
  (*sample.mutable_scores())["a"] = a;
  (*sample.mutable_scores())["b"] = b;
  return sample;
}

v1::ScorerStatistics Statistics(double mean, double stddev) {
  v1::ScorerStatistics statistics;
  statistics.set_mean(mean);
  statistics.set_stddev(stddev);
  return statistics;
}

std::vector<const v1::SampleRecord*> Pointers(const std::vector<v1::SampleRecord>& samples) {
  std::vector<const v1::SampleRecord*> pointers;
  for (const v1::SampleRecord& sample : samples) pointers.push_back(&sample);
  return pointers;
}

StatisticsMap StatisticsOf(const std::vector<v1::SampleRecord>& samples,
                           const std::vector<std::string>& scorers) {
  return ScoreStatistics(Pointers(samples), scorers);
}

std::vector<v1::SampleRecord> Select(const v1::RunSpec& spec, const StatisticsMap& statistics,
                                     std::vector<v1::SampleRecord> samples) {
  const std::vector<Judgement> judgements = SelectSamples(spec, statistics, Pointers(samples));
  for (size_t i = 0; i < samples.size(); ++i) Explain(spec, statistics, judgements[i], samples[i]);
  return samples;
}

v1::SelectionSummary Summarize(const v1::RunSpec& spec, const std::vector<v1::SampleRecord>& samples) {
  std::vector<Judgement> judgements;
  for (const v1::SampleRecord& sample : samples) {
    Judgement& judgement = judgements.emplace_back();
    judgement.reward = sample.reward();
    judgement.selected = sample.selected();
  }
  return SummarizeSelection(spec, Pointers(samples), judgements);
}

std::vector<uint32_t> Selected(const std::vector<v1::SampleRecord>& samples) {
  std::vector<uint32_t> indices;
  for (const v1::SampleRecord& sample : samples) {
    if (sample.selected()) indices.push_back(sample.index());
  }
  return indices;
}

TEST(ScoreStatisticsTest, PopulationMeanAndDeviation) {
  // numpy.mean and numpy.std of [1, 2, 3, 6]
  StatisticsMap statistics = StatisticsOf(
      {Sample(0, 0, 1, 5), Sample(1, 0, 2, 5), Sample(2, 0, 3, 5), Sample(3, 0, 6, 5)}, {"a", "b"});
  EXPECT_DOUBLE_EQ(statistics["a"].mean(), 3);
  EXPECT_NEAR(statistics["a"].stddev(), 1.8708286933869707, 1e-15);
  EXPECT_EQ(statistics["a"].count(), 4);
  EXPECT_EQ(statistics["b"].stddev(), 0);
}

TEST(ScoreStatisticsTest, ConstantScoresHaveNoDeviationInSpiteOfRounding) {
  std::vector<v1::SampleRecord> samples;
  for (uint32_t i = 0; i < 7; ++i) samples.push_back(Sample(i, 0, 0.1, 0));
  EXPECT_EQ(StatisticsOf(samples, {"a"})["a"].stddev(), 0);
}

TEST(ScoreStatisticsTest, ScoresThatDifferByRoundingAreConstant) {
  const std::vector<v1::SampleRecord> rounded = {Sample(0, 0, 0.25, -4),
                                                 Sample(1, 0, 0.25 + 2e-7, -4 - 3e-6)};
  EXPECT_EQ(StatisticsOf(rounded, {"a", "b"})["a"].stddev(), 0);
  EXPECT_EQ(StatisticsOf(rounded, {"a", "b"})["b"].stddev(), 0);
  const std::vector<v1::SampleRecord> apart = {Sample(0, 0, 0.25, 0), Sample(1, 0, 0.25 + 1e-6, 1e-9)};
  EXPECT_GT(StatisticsOf(apart, {"a", "b"})["a"].stddev(), 0);
  EXPECT_GT(StatisticsOf(apart, {"a", "b"})["b"].stddev(), 0);
}

/// As docs/method.md has them, all at once.
v1::ScorerStatistics Plain(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  double mean = 0;
  for (double value : values) mean += value / count;
  double variance = 0;
  for (double value : values) variance += (value - mean) * (value - mean) / count;
  v1::ScorerStatistics statistics = Statistics(mean, std::sqrt(variance));
  statistics.set_count(values.size());
  return statistics;
}

TEST(ScoreColumnsTest, SlicesChangeNoBit) {
  std::vector<double> a, b;
  for (uint32_t i = 0; i < 101; ++i) {
    a.push_back(std::sin(i * 1.7) * 3);
    b.push_back(1e3 + std::cos(i * 0.9));
  }
  for (const size_t slice : {1, 2, 7, 100, 101, 102, 10'000}) {
    ScoreColumns columns({"a", "b"});
    for (uint32_t i = 0; i < a.size(); ++i) columns.Add(Sample(i, 0, a[i], b[i]));
    size_t slices = 1;
    while (!columns.Advance(slice)) ++slices;
    EXPECT_EQ(slices, (4 * a.size() + slice - 1) / slice) << "two passes over two columns";
    StatisticsMap statistics = columns.Statistics();
    EXPECT_EQ(statistics["a"].SerializeAsString(), Plain(a).SerializeAsString()) << "slices of " << slice;
    EXPECT_EQ(statistics["b"].SerializeAsString(), Plain(b).SerializeAsString()) << "slices of " << slice;
  }
}

TEST(ScoreColumnsTest, StatisticsFinishWhatIsLeft) {
  ScoreColumns columns({"a"});
  for (uint32_t i = 0; i < 4; ++i) columns.Add(Sample(i, 0, i * i, 0));
  EXPECT_FALSE(columns.Advance(5));
  EXPECT_EQ(columns.Statistics()["a"].SerializeAsString(), Plain({0, 1, 4, 9}).SerializeAsString());
  EXPECT_TRUE(columns.Advance(1));
  EXPECT_EQ(ScoreColumns({"a"}).Statistics()["a"].stddev(), 0) << "no scores";
}

TEST(SelectSamplesTest, SumKeepsTheBestOfEachPrompt) {
  StatisticsMap statistics = {{"a", Statistics(1, 2)}, {"b", Statistics(0, 1)}};
  v1::RunSpec spec = Spec(v1::SELECTION_METHOD_SUM, 1);
  spec.mutable_sampling()->set_samples_per_prompt(2);
  auto samples = Select(spec, statistics,
                        {Sample(0, 5, 3, 0), Sample(1, 5, 1, 3), Sample(2, 6, 1, 0), Sample(3, 6, 1, -1)});
  EXPECT_DOUBLE_EQ(samples[0].z().at("a"), 1);
  EXPECT_DOUBLE_EQ(samples[0].reward(), 2);  // 2 * 1 + 1 * 0
  EXPECT_DOUBLE_EQ(samples[1].reward(), 3);  // 2 * 0 + 1 * 3
  EXPECT_THAT(Selected(samples), ElementsAre(1, 2));
  EXPECT_EQ(samples[0].rank(), 1);
  EXPECT_EQ(samples[0].reason(), "dropped: place 2 of 2, selection.keep is 1");
  EXPECT_EQ(samples[1].reason(), "kept: best of 2");
}

TEST(SelectSamplesTest, AJudgedSampleWithoutAScoreIsExplainedAllTheSame) {
  StatisticsMap statistics = {{"a", Statistics(1, 2)}, {"b", Statistics(0, 1)}};
  v1::SampleRecord torn = Sample(0, 0, 3, 2);
  torn.mutable_scores()->erase("a");
  Explain(Spec(v1::SELECTION_METHOD_SUM, 1), statistics, {}, torn);
  EXPECT_EQ(torn.z().at("a"), 0);
  EXPECT_EQ(torn.z().at("b"), 2);
}

TEST(SelectSamplesTest, ConstantScorerSaysNothing) {
  StatisticsMap statistics = {{"a", Statistics(1, 0)}, {"b", Statistics(0, 1)}};
  auto samples =
      Select(Spec(v1::SELECTION_METHOD_SUM, 1), statistics, {Sample(0, 0, 9, 1), Sample(1, 0, 1, 2)});
  EXPECT_EQ(samples[0].z().at("a"), 0);
  EXPECT_THAT(Selected(samples), ElementsAre(1));
}

TEST(SelectSamplesTest, TiesGoToTheLowerIndex) {
  StatisticsMap statistics = {{"a", Statistics(0, 1)}, {"b", Statistics(0, 1)}};
  auto samples = Select(Spec(v1::SELECTION_METHOD_SUM, 2), statistics,
                        {Sample(0, 0, 1, 1), Sample(1, 0, 1, 1), Sample(2, 0, 1, 1)});
  EXPECT_THAT(Selected(samples), ElementsAre(0, 1));
}

TEST(SelectSamplesTest, GateRefusesKeptSamplesBelowIt) {
  v1::RunSpec spec = Spec(v1::SELECTION_METHOD_SUM, 1);
  spec.mutable_selection()->set_gate(0);
  StatisticsMap statistics = {{"a", Statistics(0, 1)}, {"b", Statistics(0, 1)}};
  auto samples = Select(spec, statistics, {Sample(0, 0, -0.25, 0.19), Sample(1, 1, 0, 0)});
  EXPECT_THAT(Selected(samples), ElementsAre(1)) << "the gate itself passes";
  EXPECT_EQ(samples[0].reason(), "dropped: summed z -0.31 is below selection.gate 0");
}

TEST(SelectSamplesTest, RankAsksForAgreement) {
  // By sum, sample 0 wins on scorer a alone; by rank, 1 is second and first.
  StatisticsMap statistics = {{"a", Statistics(0, 1)}, {"b", Statistics(0, 1)}};
  v1::RunSpec spec = Spec(v1::SELECTION_METHOD_RANK, 1);
  for (v1::ScorerSpec& scorer : *spec.mutable_scorers()) scorer.set_weight(1);
  auto samples = Select(spec, statistics,
                        {Sample(0, 0, 100, 0), Sample(1, 0, 2, 3), Sample(2, 0, 1, 2), Sample(3, 0, 0, 1)});
  EXPECT_DOUBLE_EQ(samples[0].reward(), 0.5);
  EXPECT_NEAR(samples[1].reward(), (2.0 / 3 + 1) / 2, 1e-15);
  EXPECT_THAT(Selected(samples), ElementsAre(1));
}

TEST(SelectSamplesTest, EqualScoresShareTheirRanks) {
  v1::RunSpec spec = Spec(v1::SELECTION_METHOD_RANK, 1);
  StatisticsMap statistics = {{"a", Statistics(0, 1)}, {"b", Statistics(0, 1)}};
  auto samples = Select(spec, statistics, {Sample(0, 0, 1, 1), Sample(1, 0, 1, 1)});
  EXPECT_DOUBLE_EQ(samples[0].reward(), 0.5);
  EXPECT_DOUBLE_EQ(samples[1].reward(), 0.5);
}

// K = 1: nothing to choose among a prompt's samples, so the gate alone decides, by either method.
TEST(SelectSamplesTest, AnOnlySampleIsTheBestOfItsPrompt) {
  for (const v1::SelectionMethod method : {v1::SELECTION_METHOD_SUM, v1::SELECTION_METHOD_RANK}) {
    v1::RunSpec spec = Spec(method, 2);
    spec.mutable_selection()->set_gate(0);
    const StatisticsMap statistics = {{"a", Statistics(0, 1)}, {"b", Statistics(0, 1)}};
    const auto samples = Select(spec, statistics, {Sample(0, 0, 1, 1), Sample(1, 1, -9, -9)});
    EXPECT_THAT(Selected(samples), ElementsAre(0));
    EXPECT_EQ(samples[1].rank(), 0);
    EXPECT_TRUE(std::isfinite(samples[0].reward()));
    EXPECT_EQ(Summarize(spec, samples).prompts_without_selection(), 1);
  }
}

TEST(SelectSamplesTest, AllKeepsEverySampleAndIgnoresTheGate) {
  v1::RunSpec spec = Spec(v1::SELECTION_METHOD_ALL, 1);
  spec.mutable_selection()->set_gate(50);
  StatisticsMap statistics = {{"a", Statistics(0, 1)}, {"b", Statistics(0, 1)}};
  auto samples = Select(spec, statistics, {Sample(0, 0, 1, 1), Sample(1, 0, -9, 1)});
  EXPECT_THAT(Selected(samples), ElementsAre(0, 1));
  EXPECT_EQ(samples[1].rank(), 1);
}

TEST(SummarizeSelectionTest, CountsPromptsThatTheGateEmptied) {
  v1::RunSpec spec = Spec(v1::SELECTION_METHOD_SUM, 1);
  spec.mutable_selection()->set_gate(1);
  StatisticsMap statistics = {{"a", Statistics(0, 1)}, {"b", Statistics(0, 1)}};
  auto samples = Select(spec, statistics, {Sample(0, 0, 1, 1), Sample(1, 0, 0, 0), Sample(2, 1, 0, 0)});
  v1::SelectionSummary summary = Summarize(spec, samples);
  EXPECT_EQ(summary.samples(), 3);
  EXPECT_EQ(summary.selected(), 1);
  EXPECT_EQ(summary.prompts(), 2);
  EXPECT_EQ(summary.prompts_without_selection(), 1);
  EXPECT_DOUBLE_EQ(summary.reward_mean(), 1);
  EXPECT_DOUBLE_EQ(summary.selected_reward_mean(), 3);
  EXPECT_DOUBLE_EQ(summary.kept().at("a").mean(), 1);
  EXPECT_NEAR(summary.all().at("a").mean(), 1.0 / 3, 1e-15);
}

}  // namespace
}  // namespace rsidiff::coordinator
