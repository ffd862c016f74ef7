#include "coordinator/schedule/selection.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/schedule/task_graph.h"

namespace rsidiff::coordinator {
namespace {

double ZScore(const v1::ScorerStatistics& statistics, double score) {
  return statistics.stddev() > 0 ? (score - statistics.mean()) / statistics.stddev() : 0;
}

double SummedZ(const v1::RunSpec& spec, const v1::SampleRecord& sample) {
  double sum = 0;
  for (const v1::ScorerSpec& scorer : spec.scorers()) {
    auto z = sample.z().find(scorer.name());
    if (z != sample.z().end()) sum += (scorer.has_weight() ? scorer.weight() : 1) * z->second;
  }
  return sum;
}

/// Weighted mean over the scorers of the share of the other samples of `group` that `sample` beats.
double RankReward(const v1::RunSpec& spec, const std::vector<v1::SampleRecord*>& group,
                  const v1::SampleRecord& sample) {
  double sum = 0;
  double total = 0;
  for (const v1::ScorerSpec& scorer : spec.scorers()) {
    if (scorer.role() == v1::SCORER_ROLE_HELD_OUT) continue;
    double weight = scorer.has_weight() ? scorer.weight() : 1;
    double own = sample.scores().at(scorer.name());
    double beaten = 0;
    for (const v1::SampleRecord* other : group) {
      double score = other->scores().at(scorer.name());
      if (other != &sample) beaten += score < own ? 1 : (score == own ? 0.5 : 0);
    }
    sum += weight * (group.size() > 1 ? beaten / static_cast<double>(group.size() - 1) : 1);
    total += std::abs(weight);
  }
  return total > 0 ? sum / total : 0;
}

// People count from one.
std::string Place(uint32_t rank, size_t samples) {
  return rank == 0 ? absl::StrCat("best of ", samples) : absl::StrCat("place ", rank + 1, " of ", samples);
}

void SelectFromPrompt(const v1::RunSpec& spec, std::vector<v1::SampleRecord*> group) {
  bool all = spec.selection().method() == v1::SELECTION_METHOD_ALL;
  for (v1::SampleRecord* sample : group) {
    sample->set_reward(spec.selection().method() == v1::SELECTION_METHOD_RANK
                           ? RankReward(spec, group, *sample)
                           : SummedZ(spec, *sample));
  }
  std::stable_sort(group.begin(), group.end(), [](const v1::SampleRecord* a, const v1::SampleRecord* b) {
    return a->reward() > b->reward();
  });
  uint32_t keep = std::max<uint32_t>(spec.selection().keep(), 1);
  for (uint32_t rank = 0; rank < group.size(); ++rank) {
    v1::SampleRecord& sample = *group[rank];
    sample.set_rank(rank);
    double z = SummedZ(spec, sample);
    if (all) {
      sample.set_selected(true);
      sample.set_reason("kept: all samples are");
    } else if (rank >= keep) {
      sample.set_selected(false);
      sample.set_reason(absl::StrCat("dropped: ", Place(rank, group.size()), ", selection.keep is ", keep));
    } else if (spec.selection().has_gate() && z < spec.selection().gate()) {
      sample.set_selected(false);
      sample.set_reason(
          absl::StrFormat("dropped: summed z %.3g is below selection.gate %.3g", z, spec.selection().gate()));
    } else {
      sample.set_selected(true);
      sample.set_reason(absl::StrCat("kept: ", Place(rank, group.size())));
    }
  }
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

void SelectSamples(const v1::RunSpec& spec, const StatisticsMap& statistics,
                   absl::Span<v1::SampleRecord* const> samples) {
  std::map<uint32_t, std::vector<v1::SampleRecord*>> prompts;
  std::vector<std::string> scorers = ScorersFor(spec, v1::PURPOSE_TRAINING);
  for (v1::SampleRecord* sample : samples) {
    sample->clear_z();
    for (const std::string& scorer : scorers) {
      auto entry = statistics.find(scorer);
      if (entry == statistics.end()) continue;
      (*sample->mutable_z())[scorer] = ZScore(entry->second, sample->scores().at(scorer));
    }
    prompts[sample->prompt_id()].push_back(sample);
  }
  for (const auto& [prompt, group] : prompts) SelectFromPrompt(spec, group);
}

SelectionTally::SelectionTally(const v1::RunSpec& spec)
    : all_(ScorersFor(spec, v1::PURPOSE_TRAINING)), kept_(ScorersFor(spec, v1::PURPOSE_TRAINING)) {}

void SelectionTally::Add(const v1::SampleRecord& sample) {
  if (counts_.samples() == 0 || sample.prompt_id() != prompt_) {
    counts_.set_prompts(counts_.prompts() + 1);
    counts_.set_prompts_without_selection(counts_.prompts_without_selection() + 1);
    prompt_ = sample.prompt_id();
    served_ = false;
  }
  counts_.set_samples(counts_.samples() + 1);
  reward_ += sample.reward();
  all_.Add(sample);
  if (!sample.selected()) return;
  if (!served_) counts_.set_prompts_without_selection(counts_.prompts_without_selection() - 1);
  served_ = true;
  counts_.set_selected(counts_.selected() + 1);
  kept_reward_ += sample.reward();
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

v1::SelectionSummary SummarizeSelection(const v1::RunSpec& spec, SampleView samples) {
  SelectionTally tally(spec);
  for (const v1::SampleRecord* sample : samples) tally.Add(*sample);
  return tally.Summary();
}

}  // namespace rsidiff::coordinator
