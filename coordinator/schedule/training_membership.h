#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "rsidiff/v1/round.pb.h"

namespace rsidiff::coordinator {

/// A worker that asked to be in the next generation of a round's training.
struct Joiner {
  v1::GenerationRecord::Member member;  // joined_generation: 0 for a newcomer
  bool draining = false;
  std::vector<std::string> refused_checkpoints;  // digests of those that it could not use
};

struct MembershipInput {
  absl::Time now;
  absl::Time first_join;  // of the generation to form
  absl::Duration join_window;
  uint32_t train_min = 1;
  uint32_t train_max = 0;        // 0: no limit
  v1::GenerationRecord current;  // no members: none yet
  std::vector<Joiner> joiners;   // holders of valid leases only
  /// Tokens of every valid lease of the task, in token order; holders that have not joined are waited
  /// for: those of the current generation until they answer or are lost, newcomers within the window.
  std::vector<uint64_t> leases;
  /// Workers that could still get a lease of the task.
  uint32_t free_workers = 0;
};

struct MembershipDecision {
  enum class Action { kWait, kForm };
  Action action = Action::kWait;
  /// In rank order: members of the current generation first, by the generation that they joined in and
  /// name, then newcomers by name. has_state is set for the sources: those at the greatest step, if no
  /// checkpoint is beyond it.
  std::vector<v1::GenerationRecord::Member> members;
  /// What the members may start from, newest first: those of the generation before, less those that a joiner
  /// refused while nobody held a state beyond them.
  std::vector<v1::GenerationRecord::Checkpoint> checkpoints;
  /// Tokens of joiners that are not needed any more (draining, or beyond train_max).
  std::vector<uint64_t> released;
  std::string reason;
  bool lacks_workers = false;  ///< With kWait: fewer than train_min have joined.
};

/// When a generation is formed, and of whom. The first one waits for train_min joiners and for the end of
/// the join window, or until nobody else can come; a later one for every live member of the one before, and
/// not for newcomers while such members wait: those still loading cause a regroup of their own.
MembershipDecision DecideMembership(const MembershipInput& input);

/// The committed checkpoints that `generation` names, newest first.
std::vector<v1::GenerationRecord::Checkpoint> CheckpointsOf(const v1::GenerationRecord& generation);

/// Makes `generation` name `checkpoints` (newest first), the last few of them.
void SetCheckpoints(const std::vector<v1::GenerationRecord::Checkpoint>& checkpoints,
                    v1::GenerationRecord& generation);

struct RegroupDecision {
  bool regroup = false;
  std::string reason;
};

/// Whether the members of `input.current` have to leave after their next step and join again: a newcomer
/// waits, a member was lost, or one drains and others can go on.
RegroupDecision DecideRegroup(const MembershipInput& input, const std::vector<uint64_t>& draining);

/// Whether a worker may still join: there is room, and more than a twentieth of the steps is left.
bool Joinable(uint32_t holders, uint32_t train_max, uint64_t step, uint64_t steps);

}  // namespace rsidiff::coordinator
