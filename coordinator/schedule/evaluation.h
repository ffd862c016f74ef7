#pragma once

#include <string>
#include <vector>

#include "rsidiff/v1/round.pb.h"

namespace rsidiff::coordinator {

/// A round's score, greater is better: the mean of the held-out scorers' evaluation means. Without a
/// held-out scorer: the weighted mean over the selection scorers of (mean - base mean) / base stddev,
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
/// scores go to the earlier round.
RoundJudgement JudgeRounds(const v1::RunSpec& spec, const std::vector<v1::EvaluationSummary>& rounds);

}  // namespace rsidiff::coordinator
