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

std::vector<uint32_t> PromptOrder(uint64_t seed, uint32_t pool) {
  std::vector<uint32_t> order(pool);
  std::iota(order.begin(), order.end(), 0);
  for (uint32_t i = pool; i-- > 1;) std::swap(order[i], order[Hash64("prompt-order", {seed, i}) % (i + 1)]);
  return order;
}

std::vector<uint32_t> RoundPrompts(const v1::RunSpec& spec, uint32_t pool, uint32_t round) {
  if (pool == 0 || round == 0) return {};
  uint32_t wanted = spec.prompts().per_round();
  uint32_t count = wanted == 0 ? pool : std::min(wanted, pool);
  std::vector<uint32_t> order = PromptOrder(spec.seed(), pool);
  std::vector<uint32_t> prompts(count);
  uint64_t start = uint64_t{round - 1} * count;
  for (uint32_t i = 0; i < count; ++i) prompts[i] = order[(start + i) % pool];
  return prompts;
}

std::vector<PlannedSample> TrainingSamples(const v1::RunSpec& spec, absl::Span<const uint32_t> pool,
                                           uint32_t round) {
  uint32_t per_prompt = AtLeastOne(spec.sampling().samples_per_prompt());
  std::vector<PlannedSample> samples;
  for (uint32_t position : RoundPrompts(spec, static_cast<uint32_t>(pool.size()), round)) {
    const uint32_t prompt = pool[position];
    for (uint32_t k = 0; k < per_prompt; ++k) {
      uint32_t index = static_cast<uint32_t>(samples.size());
      samples.push_back({index, prompt, k, SampleSeed(spec.seed(), round, prompt, k)});
    }
  }
  return samples;
}

std::vector<PlannedSample> EvaluationSamples(const v1::RunSpec& spec, uint32_t pool) {
  uint32_t limit = spec.prompts().evaluation_limit();
  uint32_t prompts = limit == 0 ? pool : std::min(limit, pool);
  uint32_t per_prompt = AtLeastOne(spec.evaluation().samples_per_prompt());
  uint64_t seed = spec.evaluation().has_seed() ? spec.evaluation().seed() : spec.seed();
  std::vector<PlannedSample> samples;
  for (uint32_t prompt = 0; prompt < prompts; ++prompt) {
    for (uint32_t k = 0; k < per_prompt; ++k) {
      uint32_t index = static_cast<uint32_t>(samples.size());
      samples.push_back({index, prompt, k, EvaluationSeed(seed, prompt, k)});
    }
  }
  return samples;
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
