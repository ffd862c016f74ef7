#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "worker/train/process_group.h"
#include "worker/train/training_state.h"

namespace rsidiff::worker {

struct SyncReport {
  uint64_t step = 0;
  int source = 0;         // rank whose state everybody has now
  bool received = false;  // this member's state was replaced
};

/// Brings all members of a new group to one state, that of the lowest rank at the highest step: members at
/// other steps, or with an incomplete state, receive parameters, moments, moving average and step, bucket by
/// bucket. Every member calls it, first thing.
///
/// UNAVAILABLE: a peer failed; where this member was receiving, `state.complete` is false from then on and
/// only another synchronisation or a checkpoint makes it usable. DATA_LOSS, on every member: members at the
/// highest step hold different values, the received state is not the source's, or nobody has a state.
absl::StatusOr<SyncReport> SynchronizeState(ProcessGroup& group, TrainingState& state);

}  // namespace rsidiff::worker
