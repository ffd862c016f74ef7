#include "coordinator/schedule/selection.h"

#include <algorithm>
#include <cmath>
#include <set>

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
      sample.set_reason(absl::StrCat("dropped: rank ", rank, " of ", group.size()));
    } else if (spec.selection().has_gate() && z < spec.selection().gate()) {
      sample.set_selected(false);
      sample.set_reason(
          absl::StrFormat("dropped: summed z %.3g below gate %.3g", z, spec.selection().gate()));
    } else {
      sample.set_selected(true);
      sample.set_reason(absl::StrCat("kept: rank ", rank, " of ", group.size()));
    }
  }
}

}  // namespace

StatisticsMap ScoreStatistics(SampleView samples, const std::vector<std::string>& scorers) {
  StatisticsMap statistics;
  for (const std::string& scorer : scorers) {
    std::vector<double> values;
    for (const v1::SampleRecord* sample : samples) {
      auto score = sample->scores().find(scorer);
      if (score != sample->scores().end()) values.push_back(score->second);
    }
    double mean = 0;
    for (double value : values) mean += value / static_cast<double>(values.size());
    double variance = 0;
    for (double value : values)
      variance += (value - mean) * (value - mean) / static_cast<double>(values.size());
    v1::ScorerStatistics& entry = statistics[scorer];
    entry.set_mean(mean);
    // A constant scorer's mean is off by rounding; its variance must still count as none.
    bool constant = std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) == values.end();
    entry.set_stddev(constant ? 0 : std::sqrt(variance));
    entry.set_count(values.size());
  }
  return statistics;
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

v1::SelectionSummary SummarizeSelection(const v1::RunSpec& spec, SampleView samples) {
  std::set<uint32_t> prompts;
  std::set<uint32_t> served;
  std::vector<const v1::SampleRecord*> kept;
  double reward = 0;
  double kept_reward = 0;
  for (const v1::SampleRecord* sample : samples) {
    prompts.insert(sample->prompt_id());
    reward += sample->reward();
    if (!sample->selected()) continue;
    served.insert(sample->prompt_id());
    kept_reward += sample->reward();
    kept.push_back(sample);
  }
  v1::SelectionSummary summary;
  summary.set_samples(samples.size());
  summary.set_selected(kept.size());
  summary.set_prompts(prompts.size());
  summary.set_prompts_without_selection(prompts.size() - served.size());
  if (!samples.empty()) summary.set_reward_mean(reward / static_cast<double>(samples.size()));
  if (!kept.empty()) summary.set_selected_reward_mean(kept_reward / static_cast<double>(kept.size()));
  std::vector<std::string> scorers = ScorersFor(spec, v1::PURPOSE_TRAINING);
  for (auto& [name, entry] : ScoreStatistics(samples, scorers)) (*summary.mutable_all())[name] = entry;
  for (auto& [name, entry] : ScoreStatistics(kept, scorers)) (*summary.mutable_kept())[name] = entry;
  return summary;
}

}  // namespace rsidiff::coordinator
