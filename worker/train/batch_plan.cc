#include "worker/train/batch_plan.h"

#include <cmath>
#include <numeric>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/seed.h"

namespace rsidiff::worker {
namespace {

constexpr int kShareBits = 20;

double UnitInterval(uint64_t hash) {
  return static_cast<double>(hash >> 11) * 0x1.0p-53;
}

// SplitMix64 (Steele, Lea, Flood 2014): an epoch's order needs one number an example, so one hash seeds it.
uint64_t NextRandom(uint64_t& state) {
  uint64_t z = (state += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

}  // namespace

absl::StatusOr<BatchPlan> BatchPlan::Create(const BatchPlanOptions& options,
                                            const std::vector<bool>& is_replay) {
  if (is_replay.empty()) return absl::InvalidArgumentError("the training set is empty");
  if (options.global_batch == 0) return absl::InvalidArgumentError("the global batch is empty");
  if (options.num_train_timesteps == 0) return absl::InvalidArgumentError("num_train_timesteps is 0");
  if (!(options.replay >= 0.0 && options.replay <= 1.0)) {
    return absl::InvalidArgumentError(absl::StrCat("replay is not within 0..1: ", options.replay));
  }
  if (!(options.caption_dropout >= 0.0 && options.caption_dropout <= 1.0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("caption_dropout is not within 0..1: ", options.caption_dropout));
  }
  BatchPlan plan;
  plan.options_ = options;
  for (uint32_t i = 0; i < is_replay.size(); ++i) {
    (is_replay[i] ? plan.replay_ : plan.own_).examples.push_back(i);
  }
  if (!plan.replay_.examples.empty()) {
    plan.replay_share_ = static_cast<uint64_t>(std::llround(std::ldexp(options.replay, kShareBits)));
  }
  if (plan.own_.examples.empty() && plan.replay_share_ < (uint64_t{1} << kShareBits)) {
    return absl::InvalidArgumentError("the training set holds replay examples only");
  }
  return plan;
}

uint32_t BatchPlan::Take(Pool& pool, uint64_t pool_id, uint64_t index) {
  const uint64_t size = pool.examples.size();
  const uint64_t epoch = index / size;
  if (pool.epoch != epoch) {
    pool.order.resize(size);
    std::iota(pool.order.begin(), pool.order.end(), 0u);
    uint64_t state = Hash64("train-order", {options_.seed, pool_id, epoch});
    // Fisher-Yates; the modulo's bias is below size / 2^64.
    for (uint64_t i = size - 1; i > 0; --i) std::swap(pool.order[i], pool.order[NextRandom(state) % (i + 1)]);
    pool.epoch = epoch;
  }
  return pool.examples[pool.order[index % size]];
}

Draw BatchPlan::At(uint64_t step, uint32_t position) {
  const uint64_t slot = step * options_.global_batch + position;
  // The replay positions lie evenly: before slot g there are floor(g * share) of them. In 128 bits, or
  // the product would wrap after 2^44 slots.
  const auto replayed_before = [this](uint64_t g) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(g) * replay_share_) >> kShareBits);
  };
  const uint64_t replayed = replayed_before(slot);
  Draw draw;
  draw.example =
      replayed_before(slot + 1) > replayed ? Take(replay_, 1, replayed) : Take(own_, 0, slot - replayed);
  draw.noise_seed = Hash64("train-noise", {options_.seed, step, position});
  draw.timestep = static_cast<uint32_t>(Hash64("train-timestep", {options_.seed, step, position}) %
                                        options_.num_train_timesteps);
  draw.drop_caption =
      UnitInterval(Hash64("train-caption", {options_.seed, step, position})) < options_.caption_dropout;
  return draw;
}

std::pair<uint32_t, uint32_t> SliceOfRank(uint32_t batch, uint32_t rank, uint32_t world) {
  const uint64_t wide = batch;
  return {static_cast<uint32_t>(wide * rank / world), static_cast<uint32_t>(wide * (rank + 1) / world)};
}

}  // namespace rsidiff::worker
