#include "worker/train/training_state.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"

namespace rsidiff::worker {
namespace {

constexpr int64_t kChunkElements = int64_t{4} << 20;
constexpr uint64_t kPrime1 = 0x9E3779B185EBCA87u;
constexpr uint64_t kPrime2 = 0xC2B2AE3D27D4EB4Fu;

uint64_t Mix(uint64_t lane, uint64_t word) {
  lane += word * kPrime2;
  lane = (lane << 31) | (lane >> 33);
  return lane * kPrime1;
}

using Lanes = std::array<uint64_t, 4>;

// Four lanes, so that the multiplications of neighbouring words overlap. Buckets are multiples of 32 bytes.
void Absorb(Lanes& lanes, const float* values, int64_t count) {
  const char* bytes = reinterpret_cast<const char*>(values);
  for (int64_t i = 0; i < count * static_cast<int64_t>(sizeof(float)); i += 32) {
    uint64_t words[4];
    std::memcpy(words, bytes + i, sizeof(words));
    for (int lane = 0; lane < 4; ++lane) lanes[lane] = Mix(lanes[lane], words[lane]);
  }
}

}  // namespace

std::vector<at::Tensor> TrainingState::Buckets() const {
  std::vector<at::Tensor> all;
  for (const auto* kind : {&parameters, &exp_avg, &exp_avg_sq, &ema})
    all.insert(all.end(), kind->begin(), kind->end());
  return all;
}

NamedTensors TrainingState::Views() const {
  NamedTensors views;
  const std::pair<const char*, const std::vector<at::Tensor>*> kinds[] = {
      {"parameters/", &parameters}, {"exp_avg/", &exp_avg}, {"exp_avg_sq/", &exp_avg_sq}, {"ema/", &ema}};
  for (const auto& [prefix, flats] : kinds) {
    if (flats->empty()) continue;
    for (const FlatLayout::Slot& slot : layout.slots()) {
      views.emplace_back(absl::StrCat(prefix, slot.name), layout.View(*flats, slot));
    }
  }
  return views;
}

uint64_t TrainingState::Fingerprint() const {
  Lanes lanes = {kPrime1, kPrime2, kPrime1 ^ kPrime2, step};
  for (const at::Tensor& bucket : Buckets()) {
    for (int64_t begin = 0; begin < bucket.numel(); begin += kChunkElements) {
      const at::Tensor chunk =
          bucket.narrow(0, begin, std::min(kChunkElements, bucket.numel() - begin)).cpu();
      Absorb(lanes, chunk.const_data_ptr<float>(), chunk.numel());
    }
  }
  uint64_t result = step;
  for (const uint64_t lane : lanes) result = Mix(result, lane);
  return result;
}

}  // namespace rsidiff::worker
