#include "coordinator/schedule/selection.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/schedule/task_graph.h"

namespace rsidiff::coordinator {
namespace {

double WeightOf(const v1::ScorerSpec& scorer) {
  return scorer.has_weight() ? scorer.weight() : 1;
}

/// A scorer that has a say, and where its scores lay in round 1.
struct Voter {
  std::string name;
  double weight = 1;
  v1::ScorerStatistics statistics;
};

std::vector<Voter> Voters(const v1::RunSpec& spec, const StatisticsMap& statistics) {
  std::vector<Voter> voters;
  for (const v1::ScorerSpec& scorer : spec.scorers()) {
    if (scorer.role() == v1::SCORER_ROLE_HELD_OUT) continue;
    auto entry = statistics.find(scorer.name());
    voters.push_back({scorer.name(), WeightOf(scorer),
                      entry == statistics.end() ? v1::ScorerStatistics() : entry->second});
  }
  return voters;
}

/// 0, as of a constant scorer, where there is no score: a damaged row must not end the program.
double ZScore(const Voter& voter, const v1::SampleRecord& sample) {
  const auto score = sample.scores().find(voter.name);
  if (score == sample.scores().end() || voter.statistics.stddev() <= 0) return 0;
  return (score->second - voter.statistics.mean()) / voter.statistics.stddev();
}

double SummedZ(const std::vector<Voter>& voters, const v1::SampleRecord& sample) {
  double sum = 0;
  for (const Voter& voter : voters) sum += voter.weight * ZScore(voter, sample);
  return sum;
}

/// Weighted mean over the scorers of the share of the other samples of `group` that `sample` beats.
double RankReward(const std::vector<Voter>& voters, SampleView group, const v1::SampleRecord& sample) {
  double sum = 0;
  double total = 0;
  for (const Voter& voter : voters) {
    double own = sample.scores().at(voter.name);
    double beaten = 0;
    for (const v1::SampleRecord* other : group) {
      double score = other->scores().at(voter.name);
      if (other != &sample) beaten += score < own ? 1 : (score == own ? 0.5 : 0);
    }
    sum += voter.weight * (group.size() > 1 ? beaten / static_cast<double>(group.size() - 1) : 1);
    total += std::abs(voter.weight);
  }
  return total > 0 ? sum / total : 0;
}

uint32_t Kept(const v1::RunSpec& spec) {
  return std::max<uint32_t>(spec.selection().keep(), 1);
}

void SelectFromPrompt(const v1::RunSpec& spec, const std::vector<Voter>& voters, SampleView group,
                      absl::Span<Judgement> judgements) {
  std::vector<double> z;
  for (const v1::SampleRecord* sample : group) z.push_back(SummedZ(voters, *sample));
  std::vector<size_t> best(group.size());
  std::iota(best.begin(), best.end(), size_t{0});
  for (size_t i : best) {
    judgements[i].reward =
        spec.selection().method() == v1::SELECTION_METHOD_RANK ? RankReward(voters, group, *group[i]) : z[i];
  }
  std::stable_sort(best.begin(), best.end(),
                   [&](size_t a, size_t b) { return judgements[a].reward > judgements[b].reward; });
  for (uint32_t rank = 0; rank < best.size(); ++rank) {
    const bool passes = !spec.selection().has_gate() || z[best[rank]] >= spec.selection().gate();
    Judgement& judgement = judgements[best[rank]];
    judgement.rank = rank;
    judgement.selected =
        spec.selection().method() == v1::SELECTION_METHOD_ALL || (rank < Kept(spec) && passes);
  }
}

// People count from one.
std::string Place(uint32_t rank, uint32_t samples) {
  return rank == 0 ? absl::StrCat("best of ", samples) : absl::StrCat("place ", rank + 1, " of ", samples);
}

std::string Reason(const v1::RunSpec& spec, const Judgement& judgement, double z) {
  const std::string place = Place(judgement.rank, spec.sampling().samples_per_prompt());
  if (spec.selection().method() == v1::SELECTION_METHOD_ALL) return "kept: all samples are";
  if (judgement.selected) return absl::StrCat("kept: ", place);
  if (judgement.rank >= Kept(spec)) {
    return absl::StrCat("dropped: ", place, ", selection.keep is ", Kept(spec));
  }
  return absl::StrFormat("dropped: summed z %.3g is below selection.gate %.3g", z, spec.selection().gate());
}

}  // namespace

bool TellsNothingApart(const v1::ScorerStatistics& scores) {
  return scores.count() > 1 && scores.stddev() <= 0;
}

ScoreColumns::ScoreColumns(const std::vector<std::string>& scorers) {
  for (const std::string& scorer : scorers) columns_[scorer];
}

void ScoreColumns::Add(const v1::SampleRecord& sample) {
  for (auto& [scorer, column] : columns_) {
    auto score = sample.scores().find(scorer);
    if (score == sample.scores().end()) continue;
    column.values.push_back(score->second);
    column.min = std::min(column.min, score->second);
    column.max = std::max(column.max, score->second);
  }
}

bool ScoreColumns::Advance(size_t count) {
  for (auto& [scorer, column] : columns_) {
    const size_t size = column.values.size();
    const auto all = static_cast<double>(size);
    for (; count > 0 && column.averaged < size; --count)
      column.mean += column.values[column.averaged++] / all;
    for (; count > 0 && column.measured < size; --count) {
      const double deviation = column.values[column.measured++] - column.mean;
      column.variance += deviation * deviation / all;
    }
    if (column.measured < size) return false;
  }
  return true;
}

// Scores that differ by rounding only, as different processors round, must not be blown up to a deviation
// of 1.
bool ScoreColumns::Column::Constant() const {
  return max - min <= kConstantScores * std::max(std::abs(max), std::abs(min));
}

StatisticsMap ScoreColumns::Statistics() {
  Advance(std::numeric_limits<size_t>::max());
  StatisticsMap statistics;
  for (const auto& [scorer, column] : columns_) {
    v1::ScorerStatistics& entry = statistics[scorer];
    entry.set_mean(column.mean);
    entry.set_stddev(column.Constant() ? 0 : std::sqrt(column.variance));
    entry.set_count(column.values.size());
  }
  return statistics;
}

StatisticsMap ScoreStatistics(SampleView samples, const std::vector<std::string>& scorers) {
  ScoreColumns columns(scorers);
  for (const v1::SampleRecord* sample : samples) columns.Add(*sample);
  return columns.Statistics();
}

std::vector<Judgement> SelectSamples(const v1::RunSpec& spec, const StatisticsMap& statistics,
                                     SampleView samples) {
  const std::vector<Voter> voters = Voters(spec, statistics);
  std::vector<Judgement> judgements(samples.size());
  for (size_t begin = 0; begin < samples.size();) {
    size_t end = begin + 1;
    while (end < samples.size() && samples[end]->prompt_id() == samples[begin]->prompt_id()) ++end;
    SelectFromPrompt(spec, voters, samples.subspan(begin, end - begin),
                     absl::MakeSpan(judgements).subspan(begin, end - begin));
    begin = end;
  }
  return judgements;
}

void Explain(const v1::RunSpec& spec, const StatisticsMap& statistics, const Judgement& judgement,
             v1::SampleRecord& sample) {
  const std::vector<Voter> voters = Voters(spec, statistics);
  sample.clear_z();
  for (const Voter& voter : voters) {
    if (statistics.count(voter.name) == 0) continue;
    (*sample.mutable_z())[voter.name] = ZScore(voter, sample);
  }
  sample.set_reward(judgement.reward);
  sample.set_rank(judgement.rank);
  sample.set_selected(judgement.selected);
  if (judgement.distance.has_value()) sample.set_distance(*judgement.distance);
  sample.set_weight(judgement.weight);
  sample.set_reason(Reason(spec, judgement, SummedZ(voters, sample)));
}

SelectionTally::SelectionTally(const v1::RunSpec& spec)
    : all_(ScorersFor(spec, v1::PURPOSE_TRAINING)), kept_(ScorersFor(spec, v1::PURPOSE_TRAINING)) {}

void SelectionTally::Add(const v1::SampleRecord& sample, const Judgement& judgement) {
  if (counts_.samples() == 0 || sample.prompt_id() != prompt_) {
    counts_.set_prompts(counts_.prompts() + 1);
    counts_.set_prompts_without_selection(counts_.prompts_without_selection() + 1);
    prompt_ = sample.prompt_id();
    served_ = false;
  }
  counts_.set_samples(counts_.samples() + 1);
  reward_ += judgement.reward;
  all_.Add(sample);
  if (!judgement.selected) return;
  if (!served_) counts_.set_prompts_without_selection(counts_.prompts_without_selection() - 1);
  served_ = true;
  counts_.set_selected(counts_.selected() + 1);
  kept_reward_ += judgement.reward;
  kept_.Add(sample);
}

v1::SelectionSummary SelectionTally::Summary() {
  v1::SelectionSummary summary = counts_;
  if (counts_.samples() > 0) summary.set_reward_mean(reward_ / static_cast<double>(counts_.samples()));
  if (counts_.selected() > 0) {
    summary.set_selected_reward_mean(kept_reward_ / static_cast<double>(counts_.selected()));
  }
  for (auto& [name, entry] : all_.Statistics()) (*summary.mutable_all())[name] = entry;
  for (auto& [name, entry] : kept_.Statistics()) (*summary.mutable_kept())[name] = entry;
  return summary;
}

v1::SelectionSummary SummarizeSelection(const v1::RunSpec& spec, SampleView samples,
                                        absl::Span<const Judgement> judgements) {
  SelectionTally tally(spec);
  for (size_t i = 0; i < samples.size(); ++i) tally.Add(*samples[i], judgements[i]);
  return tally.Summary();
}

}  // namespace rsidiff::coordinator
