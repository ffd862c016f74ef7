#pragma once

#include <string>
#include <vector>

#include "rsidiff/v1/round.pb.h"

namespace rsidiff::coordinator {

/// A round's score, greater is better: the held-out scorer's evaluation mean. Where there are several, or
/// none and the selection scorers stand in: the weighted mean over them of (mean - base mean) / base stddev,
/// `base` being round 0's evaluation; 0 for a constant scorer.
double RoundScore(const v1::RunSpec& spec, const v1::EvaluationSummary& summary,
                  const v1::EvaluationSummary& base);

struct RoundJudgement {
  uint32_t best_round = 0;
  double best_score = 0;
  bool stop = false;  // stop.patience rounds in a row without a new best one
  /// "round 3 is the best: 0.241, the base model 0.229"; "no round beat the base model: ...".
  std::string reason;
};

/// Judges the rounds 0..n-1 of a run whose evaluation is complete, in order; at least round 0. Equal
/// scores go to the earlier round. `shared` is the last round that a fork has of its parent, 0 without one:
/// patience counts from the fork's own first round on.
RoundJudgement JudgeRounds(const v1::RunSpec& spec, const std::vector<v1::EvaluationSummary>& rounds,
                           uint32_t shared = 0);

/// True when a round is planned only after the one before it is evaluated, as a roll-back may follow.
bool WaitsForEvaluation(const v1::RunSpec& spec);

/// The round whose checkpoint round `next` > 0 starts from: the one before it, or `best_round` when
/// stop.roll_back_after rounds in a row before `next` were no new best one. Counted from the last round that
/// rolled back, `rolled_back` (0: none did), so that each attempt has so many rounds.
uint32_t StartingRound(const v1::RunSpec& spec, uint32_t next, uint32_t best_round, uint32_t rolled_back);

/// A collapsed round's pictures look alike, or are much worse than the base model's: diversity below half of
/// round 0's, or a score (RoundScore) below round 0's by more than a standard deviation of what it is made
/// of. Ours; docs/method.md, "Guards".
inline constexpr double kCollapsedDiversity = 0.5;
inline constexpr double kCollapsedDeviations = 1;

/// The first of the rounds 1..n-1 that has collapsed, in a sentence with its figures; empty: none has.
std::string FirstCollapse(const v1::RunSpec& spec, const std::vector<v1::EvaluationSummary>& rounds);

}  // namespace rsidiff::coordinator
