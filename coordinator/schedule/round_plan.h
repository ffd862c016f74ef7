#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "rsidiff/v1/run.pb.h"

namespace rsidiff::coordinator {

/// A sample that a round is to draw.
struct PlannedSample {
  uint32_t index = 0;  // position in the round: prompt position * K + sample_index
  uint32_t prompt_id = 0;
  uint32_t sample_index = 0;  // 0..K-1
  uint64_t seed = 0;
};

/// Half-open range of sample indices that one task works on.
struct Chunk {
  uint32_t begin = 0;
  uint32_t end = 0;
};

/// The samples that a round draws for one purpose, in index order. It holds the prompts; a sample and its
/// noise seed are computed when they are asked for, since a round may have a million.
class SamplePlan {
 public:
  struct Seeds {
    uint64_t seed = 0;
    std::optional<uint32_t> round;  // absent: an evaluation's, the same in every round
  };

  SamplePlan() = default;
  SamplePlan(std::vector<uint32_t> prompts, uint32_t samples_per_prompt, Seeds seeds)
      : prompts_(std::move(prompts)), samples_per_prompt_(samples_per_prompt), seeds_(seeds) {}

  uint32_t size() const { return static_cast<uint32_t>(prompts_.size()) * samples_per_prompt_; }
  bool empty() const { return size() == 0; }
  /// index < size().
  PlannedSample operator[](uint32_t index) const;
  std::vector<PlannedSample> Slice(Chunk chunk) const;

 private:
  std::vector<uint32_t> prompts_;
  uint32_t samples_per_prompt_ = 1;
  Seeds seeds_;
};

/// The ids of the prompts to draw from, `pool`, in the run's order: a Fisher-Yates shuffle whose i-th swap
/// (from the end) is with Hash64("prompt-order", {seed, i}) mod (i + 1). Ours. The same in every round.
std::vector<uint32_t> PromptOrder(uint64_t seed, std::vector<uint32_t> pool);

/// Prompts of training round `round` >= 1: a window of prompts.per_round (0: all) over the run's PromptOrder
/// that slides by its own length each round and wraps around.
std::vector<uint32_t> RoundPrompts(const v1::RunSpec& spec, absl::Span<const uint32_t> order, uint32_t round);

/// Samples of training round `round` >= 1 of a run whose prompts are drawn from in `order`.
SamplePlan TrainingSamples(const v1::RunSpec& spec, absl::Span<const uint32_t> order, uint32_t round);

/// Samples of an evaluation over the first prompts.evaluation_limit (0: all) of `pool` held-out prompts.
/// The same in every round, so that rounds can be compared.
SamplePlan EvaluationSamples(const v1::RunSpec& spec, uint32_t pool);

/// Number of chunks of `chunk_size` that cover `samples`; the last one may be short.
uint32_t ChunkCount(uint32_t samples, uint32_t chunk_size);

/// The `index`-th chunk, index < ChunkCount().
Chunk ChunkAt(uint32_t samples, uint32_t chunk_size, uint32_t index);

/// Seed of a round's sample order, noise, timesteps and caption dropout in training:
/// Hash64("train", {seed, round}).
uint64_t TrainSeed(const v1::RunSpec& spec, uint32_t round);

}  // namespace rsidiff::coordinator
