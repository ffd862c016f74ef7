#include "coordinator/schedule/round_plan.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "common/base/seed.h"

namespace rsidiff::coordinator {
namespace {

uint32_t AtLeastOne(uint32_t value) {
  return std::max<uint32_t>(value, 1);
}

}  // namespace

std::vector<uint32_t> PromptOrder(uint64_t seed, std::vector<uint32_t> pool) {
  for (auto i = static_cast<uint32_t>(pool.size()); i-- > 1;) {
    std::swap(pool[i], pool[Hash64("prompt-order", {seed, i}) % (i + 1)]);
  }
  return pool;
}

std::vector<uint32_t> RoundPrompts(const v1::RunSpec& spec, absl::Span<const uint32_t> order,
                                   uint32_t round) {
  if (order.empty() || round == 0) return {};
  const size_t wanted = spec.prompts().per_round();
  const size_t count = wanted == 0 ? order.size() : std::min(wanted, order.size());
  const uint64_t start = uint64_t{round - 1} * count;
  std::vector<uint32_t> prompts(count);
  for (size_t i = 0; i < count; ++i) prompts[i] = order[(start + i) % order.size()];
  return prompts;
}

PlannedSample SamplePlan::operator[](uint32_t index) const {
  const uint32_t prompt = prompts_[index / samples_per_prompt_], k = index % samples_per_prompt_;
  return {index, prompt, k,
          seeds_.round.has_value() ? SampleSeed(seeds_.seed, *seeds_.round, prompt, k)
                                   : EvaluationSeed(seeds_.seed, prompt, k)};
}

std::vector<PlannedSample> SamplePlan::Slice(Chunk chunk) const {
  std::vector<PlannedSample> samples;
  for (uint32_t index = chunk.begin; index < chunk.end; ++index) samples.push_back((*this)[index]);
  return samples;
}

SamplePlan TrainingSamples(const v1::RunSpec& spec, absl::Span<const uint32_t> order, uint32_t round) {
  return {RoundPrompts(spec, order, round),
          AtLeastOne(spec.sampling().samples_per_prompt()),
          {spec.seed(), round}};
}

SamplePlan EvaluationSamples(const v1::RunSpec& spec, uint32_t pool) {
  const uint32_t limit = spec.prompts().evaluation_limit();
  std::vector<uint32_t> prompts(limit == 0 ? pool : std::min(limit, pool));
  std::iota(prompts.begin(), prompts.end(), 0);
  const uint64_t seed = spec.evaluation().has_seed() ? spec.evaluation().seed() : spec.seed();
  return {std::move(prompts), AtLeastOne(spec.evaluation().samples_per_prompt()), {seed, std::nullopt}};
}

uint32_t ChunkCount(uint32_t samples, uint32_t chunk_size) {
  uint32_t size = AtLeastOne(chunk_size);
  return samples / size + (samples % size != 0);
}

Chunk ChunkAt(uint32_t samples, uint32_t chunk_size, uint32_t index) {
  uint32_t size = AtLeastOne(chunk_size);
  uint32_t begin = index * size;
  return {begin, std::min(samples, begin + size)};
}

uint64_t TrainSeed(const v1::RunSpec& spec, uint32_t round) {
  return Hash64("train", {spec.seed(), round});
}

}  // namespace rsidiff::coordinator
