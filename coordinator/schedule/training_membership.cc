#include "coordinator/schedule/training_membership.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"

namespace rsidiff::coordinator {
namespace {

using Member = v1::GenerationRecord::Member;
using Checkpoint = v1::GenerationRecord::Checkpoint;

// Beside the last one. Damage to a file is rare and independent; each costs the store a training state.
constexpr int kEarlierCheckpoints = 2;

bool InGeneration(const v1::GenerationRecord& generation, uint64_t token) {
  return absl::c_any_of(generation.members(), [token](const Member& m) { return m.token() == token; });
}

/// Greatest step, not before `checkpoint_step`, at which somebody holds a usable state; -1 when nobody does.
int64_t SourceStep(const MembershipInput& input, uint64_t checkpoint_step) {
  int64_t step = -1;
  for (const Joiner& joiner : input.joiners) {
    if (joiner.member.has_state() && joiner.member.step() >= checkpoint_step) {
      step = std::max<int64_t>(step, static_cast<int64_t>(joiner.member.step()));
    }
  }
  return step;
}

bool IsSource(const Member& member, int64_t source_step) {
  return member.has_state() && static_cast<int64_t>(member.step()) == source_step;
}

MembershipDecision Wait(std::string reason) {
  MembershipDecision decision;
  decision.reason = std::move(reason);
  return decision;
}

bool Refused(const MembershipInput& input, const std::string& digest) {
  return absl::c_any_of(input.joiners, [&digest](const Joiner& joiner) {
    return absl::c_linear_search(joiner.refused_checkpoints, digest);
  });
}

/// The checkpoints that still count, newest first. One that somebody could read counts: he holds its state.
std::vector<Checkpoint> UsableCheckpoints(const MembershipInput& input) {
  std::vector<Checkpoint> checkpoints = CheckpointsOf(input.current);
  while (!checkpoints.empty() && SourceStep(input, checkpoints.front().step()) < 0 &&
         Refused(input, checkpoints.front().digest())) {
    checkpoints.erase(checkpoints.begin());
  }
  return checkpoints;
}

/// Joiners in rank order, the draining ones last among equals are dropped where others hold the state.
MembershipDecision Form(const MembershipInput& input) {
  MembershipDecision decision;
  decision.checkpoints = UsableCheckpoints(input);
  int64_t source_step =
      SourceStep(input, decision.checkpoints.empty() ? 0 : decision.checkpoints.front().step());
  bool others_go_on = absl::c_any_of(input.joiners, [source_step](const Joiner& joiner) {
    return !joiner.draining && (source_step < 0 || IsSource(joiner.member, source_step));
  });
  decision.action = MembershipDecision::Action::kForm;
  for (const Joiner& joiner : input.joiners) {
    if (joiner.draining && others_go_on) {
      decision.released.push_back(joiner.member.token());
    } else {
      decision.members.push_back(joiner.member);
    }
  }
  absl::c_sort(decision.members, [](const Member& a, const Member& b) {
    bool a_new = a.joined_generation() == 0;
    bool b_new = b.joined_generation() == 0;
    return std::make_tuple(a_new, a.joined_generation(), a.worker()) <
           std::make_tuple(b_new, b.joined_generation(), b.worker());
  });
  while (input.train_max > 0 && decision.members.size() > input.train_max) {
    // Never leave out the only state.
    auto spare = std::find_if(decision.members.rbegin(), decision.members.rend(),
                              [&](const Member& member) { return !IsSource(member, source_step); });
    if (spare == decision.members.rend()) spare = decision.members.rbegin();
    decision.released.push_back(spare->token());
    decision.members.erase(std::next(spare).base());
  }
  for (Member& member : decision.members) member.set_has_state(IsSource(member, source_step));
  decision.reason = absl::StrCat(decision.members.size(), " of ", input.joiners.size(), " joined workers");
  return decision;
}

}  // namespace

MembershipDecision DecideMembership(const MembershipInput& input) {
  if (input.joiners.empty()) return Wait("nobody has joined");
  std::set<uint64_t> joined;
  for (const Joiner& joiner : input.joiners) joined.insert(joiner.member.token());
  bool members_wait = absl::c_any_of(input.joiners, [&input](const Joiner& joiner) {
    return InGeneration(input.current, joiner.member.token());
  });
  uint32_t silent_members = 0;
  uint32_t silent_newcomers = 0;
  for (uint64_t token : input.leases) {
    if (joined.count(token) > 0) continue;
    ++(InGeneration(input.current, token) ? silent_members : silent_newcomers);
  }
  if (silent_members > 0) {
    return Wait(
        absl::StrCat("waits for ", silent_members, " members of generation ", input.current.generation()));
  }
  bool first = input.current.generation() == 0;
  uint32_t needed = first ? std::max<uint32_t>(input.train_min, 1) : 1;
  if (input.joiners.size() < needed) {
    MembershipDecision decision =
        Wait(absl::StrCat("waits for workers: ", input.joiners.size(), " of ", needed));
    decision.lacks_workers = true;
    return decision;
  }
  bool full = input.train_max > 0 && input.joiners.size() >= input.train_max;
  bool nobody_else = members_wait || (silent_newcomers == 0 && (!first || input.free_workers == 0));
  if (!full && !nobody_else && input.now < input.first_join + input.join_window) {
    return Wait(absl::StrCat("the join window is open; ", input.joiners.size(), " joined"));
  }
  return Form(input);
}

std::vector<Checkpoint> CheckpointsOf(const v1::GenerationRecord& generation) {
  if (generation.checkpoint().empty()) return {};
  Checkpoint last;
  last.set_step(generation.checkpoint_step());
  last.set_digest(generation.checkpoint());
  std::vector<Checkpoint> checkpoints = {last};
  checkpoints.insert(checkpoints.end(), generation.earlier_checkpoints().begin(),
                     generation.earlier_checkpoints().end());
  return checkpoints;
}

void SetCheckpoints(const std::vector<Checkpoint>& checkpoints, v1::GenerationRecord& generation) {
  generation.clear_checkpoint_step();
  generation.clear_checkpoint();
  generation.clear_earlier_checkpoints();
  if (checkpoints.empty()) return;
  generation.set_checkpoint_step(checkpoints.front().step());
  generation.set_checkpoint(checkpoints.front().digest());
  for (size_t i = 1; i < checkpoints.size() && i <= kEarlierCheckpoints; ++i) {
    *generation.add_earlier_checkpoints() = checkpoints[i];
  }
}

RegroupDecision DecideRegroup(const MembershipInput& input, const std::vector<uint64_t>& draining) {
  if (input.current.generation() == 0) return {};
  for (const Joiner& joiner : input.joiners) {
    bool member = InGeneration(input.current, joiner.member.token());
    if (joiner.draining && !member) continue;
    return {true, absl::StrCat(joiner.member.worker(), member ? " left the group" : " wants to join")};
  }
  size_t leaving = 0;
  std::string leaver;
  for (const Member& member : input.current.members()) {
    if (!absl::c_linear_search(input.leases, member.token())) {
      return {true, absl::StrCat(member.worker(), " was lost")};
    }
    if (absl::c_linear_search(draining, member.token())) {
      ++leaving;
      leaver = member.worker();
    }
  }
  if (leaving > 0 && leaving < static_cast<size_t>(input.current.members_size())) {
    return {true, absl::StrCat(leaver, " drains")};
  }
  return {};
}

bool Joinable(uint32_t holders, uint32_t train_max, uint64_t step, uint64_t steps) {
  if (train_max > 0 && holders >= train_max) return false;
  return holders == 0 || (steps - std::min(step, steps)) * 20 > steps;
}

}  // namespace rsidiff::coordinator
