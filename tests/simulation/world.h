#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <vector>

#include "absl/time/time.h"

namespace rsidiff::simulation {

/// Random numbers of a simulation: the same seed gives the same ones on every platform.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  /// SplitMix64 (Steele, Lea, Flood 2014).
  uint64_t Next();
  /// Uniform in [0, limit).
  size_t Below(size_t limit) { return static_cast<size_t>(Next() % limit); }
  bool Chance(double probability) { return static_cast<double>(Next() >> 11) * 0x1p-53 < probability; }
  /// Uniform in [low, high], by the millisecond.
  absl::Duration Between(absl::Duration low, absl::Duration high);

 private:
  uint64_t state_;
};

/// A process that can be paused, killed, or cut off. What it does is scheduled through it.
struct Process {
  bool alive = true;
  absl::Time paused_until = absl::InfinitePast();
  bool reachable = true;  // false: nothing gets to it or away from it
};

/// Virtual time: a queue of things to do, in time order, equal times in the order they were scheduled.
class World {
 public:
  explicit World(uint64_t seed) : random(seed) {}

  absl::Time now() const { return now_; }
  void After(absl::Duration delay, std::function<void()> action);
  /// As After, when the process is not paused, and never if it is dead by then.
  void After(absl::Duration delay, const std::shared_ptr<Process>& process, std::function<void()> action);
  /// Does the next thing if it is due before `end`; else moves the clock there and returns false.
  bool RunNext(absl::Time end);

  Random random;

 private:
  struct Item {
    absl::Time time;
    uint64_t order;
    std::function<void()> action;
    bool operator<(const Item& other) const {
      return time != other.time ? time > other.time : order > other.order;
    }
  };
  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1000);
  uint64_t next_order_ = 0;
  std::priority_queue<Item> queue_;
};

}  // namespace rsidiff::simulation
