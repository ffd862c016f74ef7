#include "worker/phase/fruitless_generations.h"

namespace rsidiff::worker {

void FruitlessGenerations::Ended(uint64_t steps, size_t gone) {
  count_ = steps == 0 && gone == 0 ? count_ + 1 : 0;
}

}  // namespace rsidiff::worker
