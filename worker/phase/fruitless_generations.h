#pragma once

#include <cstddef>
#include <cstdint>

namespace rsidiff::worker {

/// Counts the training generations in a row that broke before a step was done though no member was found
/// dead: members that cannot reach each other come together and break for ever, and nobody is refused.
class FruitlessGenerations {
 public:
  /// So many are too many. A member that stands still does not join, so it costs one.
  static constexpr int kLimit = 10;

  /// A generation ended after `steps` steps; `gone` members' processes are no more.
  void Ended(uint64_t steps, size_t gone);

  int count() const { return count_; }
  bool too_many() const { return count_ >= kLimit; }

 private:
  int count_ = 0;
};

}  // namespace rsidiff::worker
