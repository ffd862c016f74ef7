#include "tests/simulation/world.h"

#include <utility>

namespace rsidiff::simulation {

uint64_t Random::Next() {
  uint64_t z = (state_ += 0x9E3779B97F4A7C15);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

absl::Duration Random::Between(absl::Duration low, absl::Duration high) {
  int64_t span = absl::ToInt64Milliseconds(high - low) + 1;
  return low + absl::Milliseconds(static_cast<int64_t>(Next() % static_cast<uint64_t>(span)));
}

void World::After(absl::Duration delay, std::function<void()> action) {
  queue_.push({now_ + delay, next_order_++, std::move(action)});
}

void World::After(absl::Duration delay, const std::shared_ptr<Process>& process,
                  std::function<void()> action) {
  After(delay, [this, process, action = std::move(action)] {
    if (!process->alive) return;
    if (now_ < process->paused_until) return After(process->paused_until - now_, process, action);
    action();
  });
}

bool World::RunNext(absl::Time end) {
  if (queue_.empty() || queue_.top().time >= end) {
    now_ = end;
    return false;
  }
  Item item = queue_.top();
  queue_.pop();
  now_ = item.time;
  item.action();
  return true;
}

}  // namespace rsidiff::simulation
