#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "rsidiff/v1/round.pb.h"

namespace rsidiff::coordinator {

/// Keyed by scorer name.
using StatisticsMap = std::map<std::string, v1::ScorerStatistics>;

/// A round's samples in index order. A round can have a million of them: they are read where they are.
using SampleView = absl::Span<const v1::SampleRecord* const>;

/// What selection and weighing find about a training sample.
struct Judgement {
  double reward = 0;
  uint32_t rank = 0;  // among its prompt's samples, 0 is best
  bool selected = false;
  std::optional<double> distance;  // standardised, to the base model's samples; absent where not measured
  double weight = 0;               // 0 unless selected
};

/// The scores of samples that come one after the other, and their statistics, a slice at a time. The result
/// does not depend on the slices.
class ScoreColumns {
 public:
  explicit ScoreColumns(const std::vector<std::string>& scorers);
  /// Before the first Advance.
  void Add(const v1::SampleRecord& sample);
  /// Goes on with the next `count` scores of the two passes that each scorer takes, its mean and its
  /// variance; count > 0. True once nothing is left.
  bool Advance(size_t count);
  /// As ScoreStatistics of the samples added. What Advance has left is done at once.
  StatisticsMap Statistics();

 private:
  struct Column {
    std::vector<double> values;
    double min = std::numeric_limits<double>::infinity();
    double max = -std::numeric_limits<double>::infinity();
    double mean = 0;      // of the first `averaged` values, each over the count of all
    double variance = 0;  // of the first `measured` values, likewise
    size_t averaged = 0;
    size_t measured = 0;

    bool Constant() const;
  };

  std::map<std::string, Column> columns_;
};

/// A scorer is constant when its scores differ by no more than this share of the largest; fp32 rounds by
/// 6e-8.
inline constexpr double kConstantScores = 1e-6;

/// True when a scorer gave the same to all of several samples; of a single one none could say two things.
bool TellsNothingApart(const v1::ScorerStatistics& scores);

/// Mean, population standard deviation (0 of a constant scorer) and count of each of `scorers` over
/// `samples`. Samples without the score are left out.
StatisticsMap ScoreStatistics(SampleView samples, const std::vector<std::string>& scorers);

/// Chooses the samples to train on. `samples` are all those of some prompts in index order, every one scored:
/// a round can be selected from in parts. `statistics` are round 1's, which the base model drew. Per sample:
///   z_j    = (score_j - mean_j) / stddev_j, 0 where the scorer was constant
///   reward = sum_j weight_j * z_j (sum), or the weighted mean of its per-prompt ranks scaled to [0, 1],
///            1 is best and equal scores share the mean of their ranks (rank)
///   rank   = place among its prompt's samples by reward, 0 is best, ties by index
/// The best selection.keep of a prompt are selected if their summed z reaches selection.gate;
/// `all` selects every sample. Returns reward, rank and selected of each, in their order.
std::vector<Judgement> SelectSamples(const v1::RunSpec& spec, const StatisticsMap& statistics,
                                     SampleView samples);

/// Writes the judgement of a scored sample into it, with each z and the reason ("kept: best of 4") as
/// SelectSamples had them from `spec` and `statistics`.
void Explain(const v1::RunSpec& spec, const StatisticsMap& statistics, const Judgement& judgement,
             v1::SampleRecord& sample);

/// Counts and score statistics of a selection; the weight fields (effective sample size, clipped share,
/// distance) are left at 0. Samples come in index order, so those of a prompt stand together.
class SelectionTally {
 public:
  explicit SelectionTally(const v1::RunSpec& spec);
  /// Before the first Advance.
  void Add(const v1::SampleRecord& sample, const Judgement& judgement);
  /// As ScoreColumns: the next `count` scores of the statistics. True once nothing is left.
  bool Advance(size_t count) { return all_.Advance(count) && kept_.Advance(count); }
  /// What Advance has left is done at once.
  v1::SelectionSummary Summary();

 private:
  v1::SelectionSummary counts_;
  uint32_t prompt_ = 0;  // of the sample added last
  bool served_ = false;  // a sample of it is selected
  double reward_ = 0;
  double kept_reward_ = 0;
  ScoreColumns all_;
  ScoreColumns kept_;
};

/// The same of all samples at once; `judgements` are theirs.
v1::SelectionSummary SummarizeSelection(const v1::RunSpec& spec, SampleView samples,
                                        absl::Span<const Judgement> judgements);

}  // namespace rsidiff::coordinator
