#pragma once

#include <cstdint>
#include <string>
#include <tuple>

#include "rsidiff/v1/round.pb.h"

namespace rsidiff::coordinator {

/// A task's name in memory; v1::TaskKey is its name in messages.
struct TaskId {
  uint64_t run_id = 0;
  uint32_t round = 0;
  v1::TaskKind kind = v1::TASK_KIND_UNSPECIFIED;
  v1::Purpose purpose = v1::PURPOSE_UNSPECIFIED;
  uint32_t index = 0;

  static TaskId From(const v1::TaskKey& key);
  v1::TaskKey ToKey() const;

  /// "score 3 of round 2 of run 1"
  std::string ToString() const;

  friend bool operator<(const TaskId& a, const TaskId& b) { return a.Tie() < b.Tie(); }
  friend bool operator==(const TaskId& a, const TaskId& b) { return a.Tie() == b.Tie(); }
  friend bool operator!=(const TaskId& a, const TaskId& b) { return !(a == b); }

 private:
  std::tuple<uint64_t, uint32_t, int, int, uint32_t> Tie() const {
    return {run_id, round, kind, purpose, index};
  }
};

}  // namespace rsidiff::coordinator
