#include "coordinator/schedule/evaluation.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace rsidiff::coordinator {
namespace {

const v1::ScorerStatistics& Statistics(const v1::EvaluationSummary& summary, const std::string& scorer) {
  auto entry = summary.scores().find(scorer);
  return entry == summary.scores().end() ? v1::ScorerStatistics::default_instance() : entry->second;
}

// The held-out scorers; without any, those that select.
std::vector<const v1::ScorerSpec*> Judges(const v1::RunSpec& spec) {
  std::vector<const v1::ScorerSpec*> held_out;
  std::vector<const v1::ScorerSpec*> others;
  for (const v1::ScorerSpec& scorer : spec.scorers()) {
    (scorer.role() == v1::SCORER_ROLE_HELD_OUT ? held_out : others).push_back(&scorer);
  }
  return held_out.empty() ? others : held_out;
}

// A single held-out scorer judges in its own unit.
bool HasOneJudge(const std::vector<const v1::ScorerSpec*>& judges) {
  return judges.size() == 1 && judges[0]->role() == v1::SCORER_ROLE_HELD_OUT;
}

// One standard deviation, over the pictures of round 0, of what RoundScore is a mean of.
double ScoreDeviation(const v1::RunSpec& spec, const v1::EvaluationSummary& base) {
  const std::vector<const v1::ScorerSpec*> judges = Judges(spec);
  return HasOneJudge(judges) ? Statistics(base, judges[0]->name()).stddev() : 1;
}

// What is wrong with a round beside round 0; empty: nothing.
std::string Collapse(const v1::RunSpec& spec, const v1::EvaluationSummary& round,
                     const v1::EvaluationSummary& base) {
  if (round.diversity() < kCollapsedDiversity * base.diversity()) {
    return absl::StrFormat("its pictures look alike: diversity %.3g, the base model's %.3g",
                           round.diversity(), base.diversity());
  }
  const double score = RoundScore(spec, round, base);
  const double base_score = RoundScore(spec, base, base);
  const double deviation = ScoreDeviation(spec, base);
  if (deviation > 0 && score < base_score - kCollapsedDeviations * deviation) {
    return absl::StrFormat("it scores %.4g, the base model %.4g with a standard deviation of %.3g", score,
                           base_score, deviation);
  }
  return "";
}

}  // namespace

bool WaitsForEvaluation(const v1::RunSpec& spec) {
  return spec.stop().roll_back_after() > 0;
}

uint32_t StartingRound(const v1::RunSpec& spec, uint32_t next, uint32_t best_round, uint32_t rolled_back) {
  const uint32_t newest = next - 1;
  // The round behind which the attempt under way began.
  const uint32_t before = std::max(best_round, rolled_back > 0 ? rolled_back - 1 : 0);
  const bool rolls_back = WaitsForEvaluation(spec) && newest >= before + spec.stop().roll_back_after();
  return rolls_back ? best_round : newest;
}

std::string FirstCollapse(const v1::RunSpec& spec, const std::vector<v1::EvaluationSummary>& rounds) {
  for (size_t round = 1; round < rounds.size(); ++round) {
    const std::string what = Collapse(spec, rounds[round], rounds[0]);
    if (!what.empty()) return absl::StrCat("round ", round, " has collapsed: ", what);
  }
  return "";
}

double RoundScore(const v1::RunSpec& spec, const v1::EvaluationSummary& summary,
                  const v1::EvaluationSummary& base) {
  const std::vector<const v1::ScorerSpec*> judges = Judges(spec);
  if (HasOneJudge(judges)) return Statistics(summary, judges[0]->name()).mean();
  double sum = 0;
  double weights = 0;
  for (const v1::ScorerSpec* scorer : judges) {
    const v1::ScorerStatistics& first = Statistics(base, scorer->name());
    const double gain = Statistics(summary, scorer->name()).mean() - first.mean();
    const double weight = scorer->has_weight() ? scorer->weight() : 1;
    if (first.stddev() > 0) sum += weight * gain / first.stddev();
    weights += std::abs(weight);
  }
  return weights > 0 ? sum / weights : 0;
}

RoundJudgement JudgeRounds(const v1::RunSpec& spec, const std::vector<v1::EvaluationSummary>& rounds,
                           uint32_t shared) {
  RoundJudgement judgement;
  if (rounds.empty()) return judgement;
  double base = RoundScore(spec, rounds[0], rounds[0]);
  judgement.best_score = base;
  for (uint32_t round = 1; round < rounds.size(); ++round) {
    double score = RoundScore(spec, rounds[round], rounds[0]);
    if (score > judgement.best_score) {
      judgement.best_score = score;
      judgement.best_round = round;
    }
  }
  uint32_t newest = static_cast<uint32_t>(rounds.size()) - 1;
  uint32_t patience = spec.stop().patience();
  uint32_t counted_from = std::max(judgement.best_round, shared);
  judgement.stop = patience > 0 && newest >= counted_from + patience;
  if (newest == 0) {
    judgement.reason = absl::StrFormat("the base model scores %.4g", base);
  } else if (judgement.best_round == 0) {
    judgement.reason = absl::StrFormat("no round beat the base model, which scores %.4g", base);
  } else {
    judgement.reason = absl::StrFormat("round %d is the best: it scores %.4g, the base model %.4g",
                                       judgement.best_round, judgement.best_score, base);
  }
  if (judgement.stop) {
    const uint32_t tried = newest - counted_from;
    absl::StrAppend(&judgement.reason, "; stopped after ", tried, tried == 1 ? " round" : " rounds",
                    " without a better one");
  }
  return judgement;
}

}  // namespace rsidiff::coordinator
